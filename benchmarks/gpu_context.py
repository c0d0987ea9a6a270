"""What all parts of benchmarks/on_gpu.py are given: how much is done, clocks on the device, where records go."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.devices import describe_device


@dataclass(frozen=True)
class Scale:
    """How much is done. originals : of each split, attacked towards every other class. seconds : of one measurement.
    training : share of the epochs. turns : of float32 and bfloat16.
    """

    train: int | None
    epochs: int | None
    max_steps: int | None
    originals: int
    seconds: float
    bare_batches: tuple[int, ...]
    engine_batches: tuple[int, ...]
    attacked: int
    peers: int
    peer_batches: tuple[int, ...]
    robust_epochs: int
    turns: int
    training: float = 1.0


FULL = Scale(None, None, None, 5000, 0.1, (512, 1024, 2048, 4096), (2048,), 1000, 1250, (1024, 2048), 2, 1)
SMALL = Scale(1500, 3, 60, 10, 0.05, (64,), (64, 256), 10, 3, (27,), 1, 2)


@dataclass(frozen=True)
class Context:
    out: Path
    work: Path
    scale: Scale
    device: torch.device
    clock: Callable[[], float] = time.perf_counter

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], object]) -> float:
        """How long a call takes, on the device too."""
        self.wait()
        started = self.clock()
        run()
        self.wait()
        return self.clock() - started

    def rate(self, run: Callable[[], object], size: int) -> float:
        """Rows per second of a call that works on `size` of them: the better of two measurements."""
        run()
        once = self.seconds(run)
        repeats = max(2, round(self.scale.seconds / once))

        def often() -> None:
            for _ in range(repeats):
                run()

        return size * repeats / min(self.seconds(often) for _ in range(2))

    @property
    def small(self) -> bool:
        return self.scale.train is not None

    @contextmanager
    def timing(self, times: dict[str, float], what: str) -> Iterator[None]:
        self.wait()
        started = self.clock()
        yield
        self.wait()
        times[what] = times.get(what, 0.0) + self.clock() - started

    def peak_mib(self) -> int | None:
        return round(torch.cuda.max_memory_allocated() / 2**20) if self.device.type == "cuda" else None


def header(context: Context) -> dict[str, Any]:
    about = {
        "device": describe_device(context.device), "torch": torch.__version__, "numpy": np.__version__,
        "small": context.small,
    }  # fmt: skip
    if context.device.type == "cuda":
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return about


def save(context: Context, part: str, record: dict[str, Any], finished: bool = False) -> None:
    """The record so far goes to WORK; a finished one to OUT, where its file says that the part is done."""
    text = json.dumps({"part": part, **header(context), **record}, indent=1, default=float) + "\n"
    (context.work / f"{part}.partial.json").write_text(text)
    if finished:
        (context.out / f"{part}.json").write_text(text)


def guarded(run: Callable[[], Any]) -> Any:
    """What a call gives, or why it gave nothing; an error of the card itself is no part's own."""
    try:
        return run()
    except Exception as error:
        if poisoned(error):
            raise
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def poisoned(error: Exception) -> bool:
    """Whether the card's context is broken for all that comes after."""
    text = str(error)
    return "CUDA error" in text and "out of memory" not in text and "not permitted when stream is capturing" not in text
