"""Several workers against one process: how much faster, what the mapper costs, what travels, what is kept.

    DATASETS_DIR=data/raw python -m benchmarks.workers [--workers 2] [--rounds 2] [--images 9000 90000 900000]
        [--originals 500] [--attacked 100] [--rows 450] [--study digits] [--stages "attack_defense dropout_ensemble"]

On MNIST, with a classifier of the committed shape, trained short and kept in .work/workers:
1. The minimal set of `originals` in blocks of `rows`, the adaptive attack on the dropout ensemble of `attacked` ones,
   and some batches of an adversarial training: by one process and by `workers`, in turns, once by a Ray cluster of two
   nodes of this machine, where Ray is installed (requirements-ray.txt). The bytes are compared.
2. What a block costs beside its work: in one process against a plain loop, through workers, through Ray.
3. Bytes an image: as pickled there and back, and on the network of the two nodes.
4. Sets of `images` images whose attack is to leave the originals as they are, by `workers`: of real bytes, through the
   mapper, the shards and the file. What the driver then does a second, and its peak memory.
5. The share of `workers` cores that stages of a finished study keep busy, by their processes' own time. They write
   what is there already, in the study itself.

Fifteen minutes at most; meaningful on a quiet machine alone: the record says how many processes were running before.
Writes benchmarks/results/workers.json.
"""

import dataclasses
import os
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import ROOT, about, options, peak_mib, seconds, still, untouched, write
from benchmarks.worker_tasks import CLASSES, MNIST, WORK, Work, scratch
from pipeline import devices, mapper
from pipeline.artifacts.adversarial import Identity, Sources
from pipeline.artifacts.generation import Start, make_set
from pipeline.attacks import minimal
from pipeline.attacks.shared.protocol import Attack
from pipeline.devices import prepare_device
from pipeline.metrics.sources import every_target
from pipeline.models.inference import for_inference
from pipeline.models.mlp import FullyConnectedClassifier
from tests.drivers import cluster, said

SENT = 40  # blocks, to see what one costs beside its work


@contextmanager
def done_by(workers: int, address: str = "") -> Iterator[None]:
    """Inside, blocks are done by so many workers, which have started."""
    os.environ["WORKERS"] = str(workers)
    if address:
        os.environ["RAY_ADDRESS"] = address
    try:
        list(mapper.in_order("start", untouched, range(workers * 2)))
        yield
    finally:
        os.environ.pop("RAY_ADDRESS", None)


@contextmanager
def nodes() -> Iterator[str]:
    """The address of a Ray cluster of two nodes of this machine."""
    with cluster() as process:
        yield said(process)
        mapper.close()


def in_turns(work: Work, workers: int, rounds: int, address: str) -> list[dict[str, Any]]:
    records = []
    for name in ("minimal", "adaptive", "training"):
        taken: dict[str, list[float]] = {}
        found = set()
        kinds = [("one", 1, ""), ("workers", workers, "")] * rounds + [("ray", workers, address)] * bool(address)
        for kind, count, where in kinds:
            with done_by(count, where):
                started = time.perf_counter()
                found.add(getattr(work, name)())
                taken.setdefault(kind, []).append(round(time.perf_counter() - started, 2))
        assert len(found) == 1, "other bytes"
        faster = min(taken["one"]) / min(taken["workers"])
        records.append({"task": name, "seconds": taken, "times_as_fast": round(faster, 2)})
        print(records[-1], flush=True)
    return records


def per_block(work: Work, workers: int, address: str) -> dict[str, float]:
    """Seconds of a block of the minimal set, and milliseconds that one costs beside its work."""
    block = work.block()
    found: dict[str, float] = {"rows": len(block.target_labels)}
    made = work.do(minimal.attack, **work.parameters)
    found["seconds"] = round(min(seconds(lambda: made(block, print_nothing)) for _ in range(2)), 3)
    count = 100_000
    with done_by(1):
        mapped = seconds(lambda: list(mapper.in_order("", untouched, range(count))))
    plain = seconds(lambda: [untouched(one, print_nothing) for one in range(count)])
    found["one_ms"] = round(1e3 * max(0.0, mapped - plain) / count, 5)
    task = work.do(Attack(run=still))
    by_itself = min(seconds(lambda: task(block, print_nothing)) for _ in range(5))
    for kind, *where in (("workers",), *([("ray", address)] if address else [])):
        with done_by(workers, *where):
            before = network_bytes()
            taken = seconds(lambda: list(mapper.in_order("still", task, [block] * SENT)))
            found[f"{kind}_ms"] = round(1e3 * max(0.0, taken / SENT - by_itself / workers), 2)
            if kind == "ray":
                found["network_bytes_an_image"] = round((network_bytes() - before) / SENT / found["rows"])
    arrays = made(block, print_nothing)
    found["there_bytes_an_image"] = round(len(pickle.dumps(block, 5)) / found["rows"])
    found["back_bytes_an_image"] = round(len(pickle.dumps(arrays, 5)) / found["rows"])
    found["pixel_bytes_an_image"] = int(np.prod(arrays["images"].shape[1:])) * 4
    found["task_bytes"] = len(pickle.dumps(made, 5))
    return found


def print_nothing(*numbers: Any) -> None:
    """An `advance` for nobody."""


def network_bytes() -> int:
    """That this machine has sent to itself."""
    lines = Path("/proc/net/dev").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


def large_set(images: int, rows: int, workers: int) -> dict[str, Any]:
    """A set of so many images that costs nothing to make, and much to store; alone in its process."""
    devices.TABLE["cpu"] = dataclasses.replace(devices.TABLE["cpu"], block=rows)
    os.environ["WORKERS"] = str(workers)
    prepare_device()
    model = for_inference(FullyConnectedClassifier((1, 28, 28), len(CLASSES), hidden=()), torch.device("cpu"))
    count = images // (len(CLASSES) - 1)
    stored = np.load(WORK / f"{MNIST}_train_images.npy", mmap_mode="r")
    labels = np.load(WORK / f"{MNIST}_train_labels.npy")
    at = np.arange(count) % len(labels)
    original_row, targets = every_target(labels[at], len(CLASSES))
    sources = Sources(
        stored[at], np.zeros(count, np.uint8), at.astype(np.int32), original_row, labels[at][original_row], targets
    )
    with scratch() as folder, done_by(workers):
        started = time.perf_counter()
        make_set(
            folder / "set.h5", "still", Attack(run=still), {}, Start(WORK / f"{MNIST}.h5", CLASSES, sources), model,
            WORK / f"{MNIST}.h5", Identity(MNIST, "still", {}, CLASSES, 0), MNIST,
        )  # fmt: skip
        taken, size = time.perf_counter() - started, (folder / "set.h5").stat().st_size
    mapper.close()
    return {
        "images": len(targets), "seconds": round(taken, 1), "images_a_second": round(len(targets) / taken),
        "mb_a_second": round(size / 1e6 / taken), "peak_memory_mib": peak_mib(),
        "originals_mib": round(sources.originals.nbytes / 2**20),
    }  # fmt: skip


def busy(study: str, stages: list[str], workers: int) -> list[dict[str, Any]]:
    """Stages of a finished study, with the share of `workers` cores that they and their workers kept busy."""
    records = []
    for words in filter(None, stages):
        stage, *key = words.split()
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", f"pipeline.stages.{stage}", study, *key], cwd=ROOT, check=False,
            env={**os.environ, "WORKERS": str(workers)}, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{words}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        share = round(used / workers / taken, 3)
        records.append({"study": study, "stage": words, "seconds": round(taken, 1), "share": share})
        print(records[-1], flush=True)
    return records


def main() -> None:
    arguments = options(
        __doc__, workers=2, rounds=2, images=[9000, 90000, 900000], originals=500, attacked=100, rows=450,
        study="digits", stages=[
            *(f"attack_defense {key}" for key in ("dropout_ensemble", "adversarial_training", "autoencoder_ensemble")),
            "replicates",
        ],
    )  # fmt: skip
    workers, load = arguments.workers, os.getloadavg()[0]
    work = Work(arguments.originals, arguments.attacked, arguments.rows)

    def start() -> None:
        with done_by(workers):
            pass

    record = {**about(), "workers": workers, "load_before": round(load, 2), "start_seconds": round(seconds(start), 2)}
    if find_spec("ray"):
        with nodes() as address:
            record["turns"] = in_turns(work, workers, arguments.rounds, address)
            record["block"] = per_block(work, workers, address)
    else:
        record["turns"] = in_turns(work, workers, arguments.rounds, "")
        record["block"] = per_block(work, workers, "")
    mapper.close()
    record["sets"] = []
    for images in arguments.images:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # no daemon: it has workers of its own
            record["sets"].append(pool.submit(large_set, images, arguments.rows, workers).result())
        print(record["sets"][-1], flush=True)
    record["busy"] = busy(arguments.study, arguments.stages, workers)
    print(record)
    write("workers", record)


if __name__ == "__main__":
    main()
