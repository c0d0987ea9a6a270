"""Sets in float32 and in bfloat16 (`precision`), in turns, on one core, stored: a GPU's part `precision_*`, here.

    DATASETS_DIR=data/raw python -m benchmarks.precision [--originals 30]

Classifiers of MNIST's and CIFAR-10's committed shape, trained short on 20,000 images, kept in .work/precision. Images/s
are those of the attack with its storing, by the process' own time, which other work on the machine disturbs less.
"""

import time
from dataclasses import replace

import torch

from benchmarks import gpu_parts
from benchmarks.common import ROOT, about, options, write
from pipeline.devices import prepare_device

EPOCHS = {"mnist": 2, "cifar10": 5}


def main() -> None:
    arguments = options(__doc__, originals=30)
    device, work = prepare_device(), ROOT / ".work/precision"
    work.mkdir(parents=True, exist_ok=True)
    records = []
    for name, epochs in EPOCHS.items():
        scale = replace(
            gpu_parts.SMALL, train=20000, epochs=epochs, max_steps=None, originals=arguments.originals, seconds=0.5
        )
        context = gpu_parts.Context(work, work, scale, device, time.process_time)
        if not (work / f"{name}_read.json").exists():
            gpu_parts.read(context)
        records.append({**about(), "bfloat16": capabilities(), **gpu_parts.in_turns(context, name)})
        print(records[-1], flush=True)
    write("precision", records)


def capabilities() -> list[str]:
    """What of the CPU computes in bfloat16."""
    return [name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)]


if __name__ == "__main__":
    main()
