"""What the benchmarks share: trained models, image-target pairs, counted passes, clocks and memory.

They run in the project's root, for a study's paths start there.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.devices import choose_device, describe_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.sources import every_target
from pipeline.models.inference import for_inference, predict
from pipeline.models.pixels import unit_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
PROCESS = Path("/proc/self/status")
PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox", "adv-lib")


@dataclass(frozen=True)
class Pairs:
    """Test originals that the classifier gets right, towards every other class each."""

    model: nn.Module
    originals: Tensor  # uint8 (m, c, h, w)
    rows: Tensor  # int64 (n,), of `originals`
    targets: Tensor  # int64 (n,)

    @property
    def images(self) -> Tensor:
        """float32 (n, c, h, w) in [0, 1], in the usual order of memory."""
        return unit_interval(self.originals)[self.rows].contiguous()


def load_pairs(name: str, originals: int) -> Pairs:
    """Of a study, by its name; originals are repeated if it has too few."""
    # Not on a machine that has only what attacks need, see on_gpu.sh.
    from pipeline.artifacts.checkpoint import load_classifier
    from pipeline.artifacts.images import read_split
    from pipeline.studies import Study

    keep_freed_memory()
    study, device = Study(name), choose_device()
    model = for_inference(load_classifier(study.path("classifier")), device)
    split = read_split(study.path("images"), "test")
    images = torch.from_numpy(split.images)
    right = np.flatnonzero(predict(model, images, 256).argmax(1).cpu().numpy() == split.labels)
    chosen = right[:originals] if originals <= len(right) else np.resize(right, originals)
    rows, targets = every_target(split.labels[chosen], int(split.labels.max()) + 1)
    return Pairs(
        model,
        images[chosen].to(device),
        torch.from_numpy(rows).to(device, torch.int64),
        torch.from_numpy(targets).to(device, torch.int64),
    )


def about() -> dict[str, Any]:
    """Machine and versions, for a record."""
    return {"device": describe_device(choose_device()), "torch": torch.__version__}


def peers() -> dict[str, str]:
    """Versions of the attack libraries that are here, by name."""
    found = {}
    for name in PEERS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes, on the device too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_mib() -> int:
    """Peak memory: of the device where there is one, else of this process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if PROCESS.exists():  # ru_maxrss of a started process begins at what its parent had
        return int(PROCESS.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@contextmanager
def counting(model: nn.Module):  # type: ignore[no-untyped-def]
    """Inside the block, a list [forward, backward] of images that went through `model`."""
    counts = [0, 0]

    def seen(module: nn.Module, inputs: Any, output: Tensor) -> None:
        counts[0] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: counts.__setitem__(1, counts[1] + len(gradient)))

    handle = model.register_forward_hook(seen)
    try:
        yield counts
    finally:
        handle.remove()


# Tasks of the mapper, here where other processes find them.
def untouched(block: int, advance: Callable[..., object]) -> int:
    """One that costs nothing."""
    return block


def still(model: nn.Module, images: Tensor, goal: Any) -> tuple[Tensor, Tensor]:
    """An attack that costs nothing, and finds nothing."""
    return images, torch.zeros_like(goal.labels)


def write(name: str, records: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, PipelineError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def options(doc: str | None, **defaults: Any) -> argparse.Namespace:
    """Command-line options of a benchmark: a flag per default, lists where the default is one.

    From then on an error that a user can mend is one line.
    """
    sys.excepthook = _say
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in defaults.items():
        many = isinstance(value, list)
        kind = type(value[0] if many else value)
        parser.add_argument(f"--{name}", default=value, type=kind, nargs="+" if many else None)
    return parser.parse_args()
