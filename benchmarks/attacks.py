"""What each attack costs: images and passes per second, passes per image, memory.

    python benchmarks/attacks.py [--datasets digits mnist cifar10] [--images 512]

Runs every attack of params.yaml, with its parameters there, on the same originals and targets of the minimal set's test
split, each in a process of its own so that its peak memory is its own. A pass is one image through the network and
back. Writes benchmarks/results/attacks.json; `make readme` renders the table.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.attacks.engine import run_attack
from pipeline.devices import batching, choose_device, describe_device, keep_freed_memory
from pipeline.metrics.outcomes import margins
from pipeline.models.inference import for_inference, predict
from pipeline.params import arguments_for, read_block
from pipeline.randomness import generator
from pipeline.registry import load_by_name, split_method

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks/results/attacks.json"


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

    passes = 0

    def counted(module: object, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal passes
        if output.requires_grad:
            passes += len(output)

    def run(rows: torch.Tensor, targets: torch.Tensor) -> tuple[float, torch.Tensor]:
        draws = generator(device, 0, "benchmark")
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        size = batching(device).attack
        found, _ = run_attack(attack, model, originals, rows, targets, size, generator=draws, **parameters)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started, found

    run(image_rows[:32], targets[:32])  # to warm up
    handle = model.register_forward_hook(counted)
    seconds, found = run(image_rows, targets)
    handle.remove()
    fooled = margins(predict(model, found, batching(device).predict), targets) > 0
    l2 = (found - originals[image_rows].float() / 255).flatten(1).norm(dim=1)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else peak_mib()
    return {
        "dataset": dataset,
        "attack": name,
        "device": describe_device(device),
        "torch": torch.__version__,
        "images": count,
        "images_per_second": round(count / seconds, 1),
        "passes_per_image": round(passes / count, 1),
        "passes_per_second": round(passes / seconds),
        "success_rate": round(fooled.float().mean().item(), 4),
        "l2_median": round(l2[fooled].median().item(), 3) if fooled.any() else None,
        "peak_memory_mib": round(memory),
    }


def peak_mib() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["digits", "mnist", "cifar10"])
    parser.add_argument("--images", type=int, default=512)
    arguments = parser.parse_args()
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
    OUT.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
