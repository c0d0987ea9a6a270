"""What each attack costs: images and passes per second, passes per image, memory.

    PYTHONPATH=. python benchmarks/attacks.py [--datasets digits mnist cifar10] [--images 512]

Runs every attack of params.yaml, with its parameters there, on the same originals and targets of the minimal set's test
split, each in a process of its own so that its peak memory is its own. A pass is one image through the network and
back. Writes benchmarks/results/attacks.json; `make readme` renders the table.
"""

import json
import multiprocessing
from typing import Any

import numpy as np
import torch

from benchmarks.common import ROOT, about, counting, options, peak_mib, seconds, write
from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.attacks.engine import run_attack
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.outcomes import margins
from pipeline.models.inference import for_inference, predict, unit_interval
from pipeline.params import arguments_for, read_block
from pipeline.randomness import generator
from pipeline.registry import load_by_name, split_method


def measure(dataset: str, name: str, block: str, count: int) -> dict[str, Any]:
    keep_freed_memory()
    device = choose_device()
    model = for_inference(load_classifier(ROOT / f"data/classifiers/{dataset}.safetensors"), device)
    method, own = split_method(name, read_block(ROOT / "params.yaml", f"{block}.{name}.{dataset}"), block)
    attack = load_by_name("attacks", method)
    parameters = arguments_for(getattr(attack, method), own, name)
    with open_adversarial(ROOT / f"data/adversarial/{dataset}/minimal.h5") as set_:
        sources = set_.sources
        rows = np.flatnonzero(sources.source_split[sources.original_row] == TEST)
        rows = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
        originals = torch.from_numpy(sources.originals).to(device)
    image_rows = torch.from_numpy(sources.original_row[rows]).to(device, torch.int64)
    targets = torch.from_numpy(sources.target_labels[rows]).to(device, torch.int64)

    found: list[torch.Tensor] = []

    def run(count: int) -> None:
        size, draws = batching(device).attack, generator(device, 0, "benchmark")
        part = image_rows[:count], targets[:count]
        found[:] = run_attack(attack, model, originals, *part, size, generator=draws, **parameters)[:1]

    run(32)  # to warm up
    with counting(model) as counts:
        taken = seconds(lambda: run(count))
    (images,) = found
    passes = counts[1]
    fooled = margins(predict(model, images, batching(device).predict), targets) > 0
    l2 = (images - unit_interval(originals[image_rows])).flatten(1).norm(dim=1)
    return {
        "dataset": dataset,
        "attack": name,
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
    arguments = options(__doc__, datasets=["digits", "mnist", "cifar10"], images=512)
    attacks = [
        ("minimal", "attacks"),
        *((name, "other_attacks") for name in read_block(ROOT / "params.yaml", "other_attacks")),
    ]
    records = []
    spawning = multiprocessing.get_context("spawn")
    for dataset in arguments.datasets:
        for name, block in attacks:
            with spawning.Pool(1) as pool:
                records.append(pool.apply(measure, (dataset, name, block, arguments.images)))
            print(json.dumps(records[-1]), flush=True)
    write("attacks", records)


if __name__ == "__main__":
    main()
