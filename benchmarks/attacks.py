"""What each attack costs: images and passes per second, passes per image, memory.

    python -m benchmarks.attacks [--studies digits mnist cifar10] [--images 512]

Runs every attack of a study but `extended`, with its parameters there, on the same originals and targets of the
minimal set's test split, each in a process of its own so that its peak memory is its own. A pass is one image through
the network and back. Writes benchmarks/results/attacks.json; `make results` renders the table.
"""

import json
import multiprocessing
from typing import Any

import numpy as np
import torch

from benchmarks.common import about, counting, options, peak_mib, seconds, write
from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.attacks.shared.budgets import within_threat
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import load_attack
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.outcomes import margins
from pipeline.models.inference import for_inference, predict
from pipeline.models.pixels import unit_interval
from pipeline.randomness import generator
from pipeline.registry import split_method
from pipeline.stages.sets import chosen_arguments
from pipeline.studies import Study


def measure(name: str, key: str, count: int) -> dict[str, Any]:
    """One attack of a study."""
    keep_freed_memory()
    study, device = Study(name), choose_device()
    model = for_inference(load_classifier(study.path("classifier")), device)
    where = f"attacks.{key}" if key == "minimal" else f"other_attacks.{key}"
    block = chosen_arguments(study, where) if key == "minimal" else study.value(where)
    method, own = split_method(key, block, study.where(where))
    attack = load_attack(method)
    parameters = study.arguments(attack.run, where, within_threat(attack, own, study.budgets, study.where(where)))
    with open_adversarial(study.path("minimal")) as set_:
        sources = set_.sources
        rows = np.flatnonzero(sources.source_split[sources.original_row] == TEST)
        rows = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
        originals = torch.from_numpy(sources.originals).to(device)
    image_rows = torch.from_numpy(sources.original_row[rows]).to(device, torch.int64)
    targets = torch.from_numpy(sources.target_labels[rows]).to(device, torch.int64)

    found: list[torch.Tensor] = []

    def run(count: int) -> None:
        size, draws = batching(device).attack, generator(device, 0, "benchmark")
        part = image_rows[:count], Goal(targets[:count])
        found[:] = run_attack(attack, model, originals, *part, size, generator=draws, **parameters)[:1]

    run(32)  # to warm up
    with counting(model) as counts:
        taken = seconds(lambda: run(count))
    (images,) = found
    passes = counts[1]
    fooled = margins(predict(model, images, batching(device).predict), targets) > 0
    l2 = (images - unit_interval(originals[image_rows])).flatten(1).norm(dim=1)
    return {
        "study": name,
        "attack": key,
        **about(),
        "images": count,
        "images_per_second": round(count / taken, 1),
        "passes_per_image": round(passes / count, 1),
        "passes_per_second": round(passes / taken),
        "success_rate": round(fooled.float().mean().item(), 4),
        "l2_median": round(l2[fooled].median().item(), 3) if fooled.any() else None,
        "peak_memory_mib": peak_mib(),
    }


def main() -> None:
    arguments = options(__doc__, studies=["digits", "mnist", "cifar10"], images=512)
    records = []
    spawning = multiprocessing.get_context("spawn")
    for name in arguments.studies:
        for key in ["minimal", *Study(name).other_attacks]:
            with spawning.Pool(1) as pool:
                records.append(pool.apply(measure, (name, key, arguments.images)))
            print(json.dumps(records[-1]), flush=True)
    write("attacks", records)


if __name__ == "__main__":
    main()
