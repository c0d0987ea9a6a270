"""Several workers against one process, in turns: how much faster, what the mapper costs, what travels, what is kept.

    python -m benchmarks.workers [--study digits] [--rows 900] [--images 9000 90000] [--workers 2] [--rounds 3]

1. `minimal` and the ascent of an adaptive attack on a sample of the test split, in blocks of `rows`, by one process and
   by `workers` processes in turns; the workers' start is measured apart. The bytes are compared.
2. The mapper in one process against a plain loop: microseconds a block, and its share of a block's time.
3. Bytes that travel for an image of a block, there and back; what the driver writes a second.
4. The driver's peak memory for sets of `images` images, by `workers` processes.

Meaningful on a quiet machine alone: the record says how many other processes were running. Writes
benchmarks/results/workers.json.
"""

import dataclasses
import hashlib
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import about, options, peak_mib, seconds, write
from benchmarks.scaling import repeated
from pipeline import devices, mapper
from pipeline.artifacts.adversarial import Identity
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.generation import Start, attack_block, block_of, make_set, start_from_images
from pipeline.artifacts.images import read_split
from pipeline.artifacts.shards import ShardStore
from pipeline.attacks import fgsm, minimal
from pipeline.attacks.shared.adaptive_settings import Chosen
from pipeline.attacks.shared.defended import Target
from pipeline.attacks.shared.protocol import load_attack
from pipeline.attacks.shared.runs import Run, attacked, each_block
from pipeline.defenses.undefended import undefended
from pipeline.devices import batching
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.randomness import generator
from pipeline.stages.sets import chosen_arguments
from pipeline.studies import Study

PARAMETERS = {"epsilon": 0.2, "relative_step_size": 0.1, "steps": 400, "norm": "linf"}


def nothing(block: int, advance: Callable[..., object]) -> int:
    """A task that costs nothing."""
    return block


class Work:
    """The two measured tasks of a study."""

    def __init__(self, name: str, rows: int) -> None:
        self.study = study = Study(name)
        self.device = study.device
        self.model = for_inference(load_classifier(study.path("classifier")), self.device)
        self.start = start_from_images(
            study.path("images"), self.model, {"train": 1000, "test": 300}, 0, study.source, name
        )
        block = chosen_arguments(study, "attacks.minimal")
        self.parameters = study.arguments(minimal.attack.run, "attacks.minimal", block)
        self.rows = rows

    def minimal(self, out: Path) -> bytes:
        """The bytes of a minimal set."""
        identity = Identity(self.study.name, "minimal", self.parameters, self.start.class_names, 0)
        make_set(
            out / "set.h5", "minimal", minimal.attack, self.parameters, self.start, self.model,
            self.study.path("classifier"), identity, self.study.source,
        )  # fmt: skip
        return (out / "set.h5").read_bytes()

    def adaptive(self, out: Path) -> bytes:
        """The images of an ascent on the undefended classifier, as an adaptive attack runs it."""
        split = read_split(self.study.path("images"), "test")
        images = to_unit_interval(torch.from_numpy(split.images), self.model)
        labels = torch.from_numpy(split.labels).to(self.device, torch.int64)
        draws = partial(generator, self.device, 0, "benchmark")
        target = Target(undefended, self.model, {}, draws)
        chosen = Chosen(load_attack("pgd"), PARAMETERS, "epsilon")
        runs = [
            Run(target, chosen, PARAMETERS, images[at].clone(), labels[at], 1, ("benchmark", number))
            for number, at in enumerate(torch.arange(len(labels)).split(batching(self.device).attack // 4))
        ]
        return torch.cat(list(each_block("benchmark", attacked, runs))).cpu().numpy().tobytes()


def in_turns(work: Work, workers: int, rounds: int) -> list[dict[str, Any]]:
    records = []
    with tempfile.TemporaryDirectory(dir=".work") as temporary:
        out = Path(temporary)
        for name in ("minimal", "adaptive"):
            taken: dict[str, list[float]] = {"1": [], str(workers): []}
            found = set()
            for _ in range(rounds):
                for count in taken:
                    os.environ["WORKERS"] = count
                    list(mapper.in_order("start", nothing, range(workers * 2)))  # what starts is started
                    started = time.perf_counter()
                    found.add(hashlib.sha256(getattr(work, name)(out)).hexdigest())
                    taken[count].append(round(time.perf_counter() - started, 2))
            assert len(found) == 1, "other bytes"
            best = {count: min(times) for count, times in taken.items()}
            records.append({"task": name, "seconds": taken, "times_as_fast": round(best["1"] / best[str(workers)], 2)})
            print(records[-1], flush=True)
    return records


def overhead(seconds_a_block: float) -> dict[str, float]:
    os.environ["WORKERS"] = "1"
    count = 100_000
    mapped = seconds(lambda: list(mapper.in_order("", nothing, range(count))))
    plain = seconds(lambda: [nothing(one, print) for one in range(count)])
    each = max(0.0, (mapped - plain) / count)
    return {"microseconds_a_block": round(1e6 * each, 2), "share_of_a_block": each / seconds_a_block}


def travels(work: Work) -> dict[str, float]:
    sources, rows = work.start.sources, slice(0, work.rows)
    block = block_of(0, sources.originals, sources.original_row[rows], sources.target_labels[rows])
    draws = partial(generator, work.device, 0, "benchmark")
    size = batching(work.device).attack
    started = time.perf_counter()
    made = attack_block(minimal.attack, work.model, size, draws, work.parameters, block, lambda *numbers: None)
    taken = time.perf_counter() - started
    store = ShardStore([], {"benchmark": time.time()})
    writing = seconds(lambda: store.fill(20, lambda index, advance: made))
    store.clear()
    return {
        "rows_a_block": len(made["steps"]),
        "seconds_a_block": round(taken, 3),
        "there_bytes_an_image": round(len(pickle.dumps(block, 5)) / len(made["steps"])),
        "back_bytes_an_image": round(len(pickle.dumps(made, 5)) / len(made["steps"])),
        "pixels_bytes_an_image": int(np.prod(made["images"].shape[1:])) * 4,
        "model_bytes": len(pickle.dumps(work.model, 5)),
        "images_written_a_second": round(20 * len(made["steps"]) / writing),
    }


def memory(name: str, images: int, rows: int, workers: int) -> int:
    """Peak memory in MiB of a driver of `workers` that makes so many FGSM images."""
    devices.TABLE["cpu"] = dataclasses.replace(devices.TABLE["cpu"], block=rows)
    os.environ["WORKERS"] = str(workers)
    study = Study(name)
    model = for_inference(load_classifier(study.path("classifier")), study.device)
    with tempfile.TemporaryDirectory(dir=".work") as temporary:
        path = Path(temporary) / "images.h5"
        repeated(study, images // 9, path)
        half = images // 18 // 10 * 10
        start: Start = start_from_images(path, model, {"train": half, "test": half}, 0, study.source, name)
        identity = Identity(name, "fgsm", {}, start.class_names, 0)
        make_set(
            path.with_name("set.h5"), "fgsm", fgsm.attack, {"epsilon": 0.2}, start, model, study.path("classifier"),
            identity, study.source,
        )  # fmt: skip
    mapper.close()
    return peak_mib()


def main() -> None:
    arguments = options(__doc__, study="digits", rows=900, images=[9000, 90000], workers=2, rounds=3)
    devices.TABLE["cpu"] = dataclasses.replace(devices.TABLE["cpu"], block=arguments.rows)
    Path(".work").mkdir(exist_ok=True)
    work = Work(arguments.study, arguments.rows)
    load = os.getloadavg()[0]
    os.environ["WORKERS"] = str(arguments.workers)
    start = seconds(lambda: list(mapper.in_order("start", nothing, range(arguments.workers * 2))))
    turns = in_turns(work, arguments.workers, arguments.rounds)
    mapper.close()
    sent = travels(work)
    peaks = []
    for images in arguments.images:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # no daemon: it has workers of its own
            found = pool.submit(memory, arguments.study, images, arguments.rows, arguments.workers).result()
        peaks.append({"images": images, "peak_memory_mib": found})
        print(peaks[-1], flush=True)
    record = {
        **about(), "study": arguments.study, "workers": arguments.workers, "load_before": round(load, 2),
        "start_seconds": round(start, 2), "turns": turns, "serial": overhead(sent["seconds_a_block"]), "travels": sent,
        "memory": peaks,
    }  # fmt: skip
    print(record)
    write("workers", record)


if __name__ == "__main__":
    main()
