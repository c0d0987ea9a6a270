"""The parts of benchmarks/on_gpu.py by name: each gives a record of what it measures, see gpu_<part>.py.

    PYTHONPATH=. python -m benchmarks.gpu_parts OUT WORK [--small] [--training SHARE] read | PART...

Cards are timed with the device drained before and after. What a part leaves for later ones (raw images, weights, the
minimal set) lies in WORK.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_ceiling import ceiling
from benchmarks.gpu_context import FULL, SMALL, Context, poisoned, save
from benchmarks.gpu_defenses import defenses
from benchmarks.gpu_generation import generation, in_turns
from benchmarks.gpu_inputs import read
from benchmarks.gpu_peers import peers
from pipeline import devices
from pipeline.devices import choose_device, keep_freed_memory

PARTS: dict[str, Callable[[Context], dict[str, Any]]] = {
    "generation_mnist": lambda context: generation(context, "mnist"),
    "generation_cifar10": lambda context: generation(context, "cifar10"),
    "precision_mnist": lambda context: in_turns(context, "mnist"),
    "precision_cifar10": lambda context: in_turns(context, "cifar10"),
    "ceiling": ceiling,
    "defenses": defenses,
    "peers": peers,
}


def main() -> None:
    out, work, *words = sys.argv[1:]
    options = argparse.ArgumentParser()
    options.add_argument("--small", action="store_true")
    options.add_argument("--training", type=float, default=1)
    options.add_argument("parts", nargs="+")
    given = options.parse_args(words)
    small, parts = given.small, given.parts
    torch.set_num_threads(min(16, torch.get_num_threads()))
    keep_freed_memory()
    device = torch.device("cpu") if small or parts == ["read"] else choose_device()
    devices.fix_numerics()
    scale = FULL if device.type == "cuda" else SMALL
    context = Context(Path(out), Path(work), replace(scale, training=given.training), device)
    if parts == ["read"]:
        read(context)
        return
    for part in parts:
        (context.work / "running").write_text(part)
        started = time.perf_counter()
        record: dict[str, Any]
        broken = False
        try:
            record = PARTS[part](context)
        except Exception as error:
            traceback.print_exc()
            partial_path = context.work / f"{part}.partial.json"
            before = json.loads(partial_path.read_text()) if partial_path.exists() else {}
            record = {
                **before,
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc()[-3000:],
            }
            broken = poisoned(error)
        save(context, part, {**record, "seconds_of_the_part": round(time.perf_counter() - started, 2)}, finished=True)
        print(part, json.dumps(record, default=float)[:6000], flush=True)
        if device.type == "cuda" and not broken:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if broken:
            sys.exit(3)


if __name__ == "__main__":
    main()
