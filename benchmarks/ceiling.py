"""How fast can forward and input-gradient passes of the classifier be on this device, and how near is the engine?

    python -m benchmarks.ceiling [--studies mnist cifar10] [--originals 300]

Measures bare passes over memory formats, batch sizes, threads, precision and batch normalization folded or not, then
the engine on `originals` x 9 images with the batch size of the table in devices.py, and where its time goes. Writes
benchmarks/results/ceiling.json.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import Pairs, about, counting, load_pairs, options, seconds, write
from pipeline.artifacts.adversarial import Identity, Sources, write_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.shards import ShardStore
from pipeline.attacks.minimal import attack
from pipeline.attacks.shared import engine
from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.goals import Goal
from pipeline.devices import batching, choose_device
from pipeline.metrics.outcomes import margins
from pipeline.models.inference import predict
from pipeline.models.modes import frozen
from pipeline.stages.sets import minimal_arguments
from pipeline.studies import Study

ROUNDS = 3
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def rate(model: nn.Module, images: Tensor, targets: Tensor, half: bool) -> float:
    """Passes per second over one batch, the best of some rounds."""
    device = images.device.type
    repeats = max(3, 1500 // len(images)) if device == "cpu" else 50

    def passes(count: int) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            for _ in range(count):
                score_gradients(model, images, Goal(targets).raised)

    with frozen(model):
        passes(2)
        return max(repeats * len(images) / seconds(lambda: passes(repeats)) for _ in range(ROUNDS))


def sweep(name: str, pairs: Pairs) -> list[dict[str, Any]]:
    device = choose_device()
    plain = load_classifier(Study(name).path("classifier")).to(device)
    threads = sorted({1, torch.get_num_threads()}) if device.type == "cpu" else [torch.get_num_threads()]
    sizes = [32, 64, 128, 256, 512] if device.type == "cpu" else [256, 1024, 4096, 16384]
    records = []
    before = torch.get_num_threads()
    for folded, (order, memory_format), size, count, half in itertools.product(
        (False, True), FORMATS.items(), sizes, threads, (False, True)
    ):
        if half and (size != 256 or not folded) and device.type == "cpu":
            continue  # one look is enough where there is no hardware for it
        model = (pairs.model if folded else plain).to(memory_format=memory_format)
        images = torch.rand(size, *pairs.originals.shape[1:], device=device).contiguous(memory_format=memory_format)
        targets = torch.zeros(size, dtype=torch.int64, device=device)
        torch.set_num_threads(count)
        passes = rate(model, images, targets, half)
        records.append(
            {"study": name, "folded": folded, "memory_format": order, "batch_size": size, "threads": count,
             "precision": "bfloat16" if half else "float32", "passes_per_second": round(passes)}
        )  # fmt: skip
    torch.set_num_threads(before)
    pairs.model.to(memory_format=torch.channels_last)
    return records


def engine_share(name: str, pairs: Pairs, ceiling: float) -> dict[str, Any]:
    """The engine's passes per second, and its time by what it is spent on."""
    parameters = minimal_arguments(Study(name))
    size = batching(choose_device()).attack
    found: list[tuple[Tensor, Tensor]] = []

    def run() -> None:
        found[:] = [
            engine.run_attack(attack, pairs.model, pairs.originals, pairs.rows, Goal(pairs.targets), size, **parameters)
        ]

    rounds = 2
    with counting(pairs.model) as counts:
        total = min(seconds(run) for _ in range(rounds))
    images, steps = found[0]
    passes = counts[0] / rounds
    with clocked_passes() as took:
        clocked = seconds(run)
    spent = sum(took)
    arrays: list[np.ndarray] = []
    transfer = seconds(lambda: arrays.append(images.cpu().numpy()))
    writing = seconds(lambda: store(name, pairs, arrays[0], steps))
    return {
        "study": name,
        "images": len(steps),
        "passes_per_image": round(passes / len(steps), 2),
        "needed_passes_per_image": round(steps.float().mean().item() + 1, 2),
        "images_per_second": round(len(steps) / total, 1),
        "passes_per_second": round(passes / total),
        "ceiling": round(ceiling),
        "share_of_ceiling": round(passes / total / ceiling, 3),
        "seconds": {
            "model": round(spent, 2), "bookkeeping": round(clocked - spent, 2), "host_transfers": round(transfer, 3),
            "writing_and_margins": round(writing, 2),
        },
    }  # fmt: skip


@contextmanager
def clocked_passes() -> Iterator[list[float]]:
    """Inside the block, a list with the seconds of every forward and every backward pass that the engine makes."""
    took: list[float] = []
    forward = engine.forward  # type: ignore[attr-defined]  # which it imports, and calls by this name

    def timed(call: Callable[..., Any], *arguments: Any) -> Any:
        found: list[Any] = []
        took.append(seconds(lambda: found.append(call(*arguments))))
        return found[0]

    def timed_forward(model: nn.Module, images: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        logits, backward = timed(forward, model, images)
        return logits, partial(timed, backward)

    engine.forward = timed_forward  # type: ignore[attr-defined]
    try:
        yield took
    finally:
        engine.forward = forward  # type: ignore[attr-defined]


def store(name: str, pairs: Pairs, images: np.ndarray, steps: Tensor) -> None:
    """As the stage does: a shard, the HDF5 file, the margins of what was stored."""
    rows = pairs.rows.cpu().numpy().astype(np.int32)
    targets = pairs.targets.cpu().numpy().astype(np.uint8)
    originals = pairs.originals.cpu().numpy()
    sources = Sources(
        originals, np.ones(len(originals), np.uint8), np.arange(len(originals), dtype=np.int32), rows,
        ((targets + 1) % 10).astype(np.uint8), targets,
    )  # fmt: skip
    taken = steps.cpu().numpy().astype(np.int16)

    def measure(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        logits = predict(pairs.model, torch.from_numpy(stored), batching(choose_device()).predict)
        return margins(logits, torch.from_numpy(wanted).to(logits.device, torch.int64)).cpu().numpy()

    with tempfile.TemporaryDirectory(dir="data") as folder:
        shards = ShardStore([], {"benchmark": folder})
        shards.fill(1, lambda index, advance: {"images": images, "steps": taken})
        identity = Identity(name, "minimal", {}, tuple("0123456789"), 0)
        blocks = ((slice(0, len(taken)), shard["images"], shard["steps"]) for shard in shards.load(1))
        write_adversarial(Path(folder) / "set.h5", identity, sources, blocks, measure)
        shards.clear()


def main() -> None:
    arguments = options(__doc__, studies=["mnist", "cifar10"], originals=300)
    bare, engines = [], []
    for name in arguments.studies:
        pairs = load_pairs(name, arguments.originals)
        records = sweep(name, pairs)
        bare += records
        best = max((r for r in records if r["precision"] == "float32"), key=lambda r: r["passes_per_second"])
        engines.append({**about(), **engine_share(name, pairs, best["passes_per_second"]), "best": best})
        print(engines[-1], flush=True)
    write("ceiling", {**about(), "engine": engines, "bare_passes": bare})


if __name__ == "__main__":
    main()
