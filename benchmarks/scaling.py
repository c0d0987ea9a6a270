"""Time and peak memory of generate, measure and evaluate against the number of images.

    PYTHONPATH=. python benchmarks/scaling.py [--dataset mnist] [--images 900 9000 90000] [--digits 900000]

Runs the stages themselves, each in a process of its own, on sources of the train and test split in equal parts, with
the parameters of params.yaml; evaluate judges the undefended classifier. `digits` says how many images are made of
digits whose originals are repeated, for more than the datasets have. The goal: time linear, memory flat. Writes
benchmarks/results/scaling.json.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from benchmarks.common import ROOT, about, options, write
from pipeline.artifacts.images import Split, read_description, read_split, write_images

CLASSES = 10


def stages(dataset: str, images: Path, folder: Path) -> dict[str, list[str]]:
    """The commands, by what they do."""
    classifier, made = f"data/classifiers/{dataset}.safetensors", f"{folder}/minimal.h5"
    params = f"--params {folder}/params.yaml"
    commands = {
        "generate": f"""generate_adversarial --dataset {dataset} --attack minimal --start {images}
            --classifier {classifier} --out {made} {params}""",
        "measure": f"""measure_perturbations --adversarial {made} --classifier {classifier} {params}
            --examples {folder}/examples.parquet --pairs {folder}/pairs.parquet --pixels {folder}/pixels.parquet
            --profile {folder}/profile.parquet --mean-images {folder}/mean_images.h5""",
        "evaluate": f"""evaluate_defense --dataset {dataset} --defense undefended --images {images}
            --classifier {classifier} --weights {classifier} --sets {made}
            --out {folder}/undefended.parquet {params}""",
    }
    return {name: command.split() for name, command in commands.items()}


def run(command: list[str]) -> tuple[float, int]:
    """Seconds and peak memory in MiB of a stage in a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"pipeline.stages.{command[0]}", *command[1:]], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed: run it by hand: {' '.join(command)}")
    return time.perf_counter() - started, usage.ru_maxrss // 1024


def repeated(dataset: str, originals: int, path: Path) -> None:
    """An images file with each split's images over and over, so that `originals` can be chosen from it."""
    source = ROOT / f"data/images/{dataset}.h5"
    splits = {}
    for name in ("train", "test"):
        split = read_split(source, name)
        rows = np.resize(np.arange(len(split.labels)), max(len(split.labels), round(0.7 * originals)))
        splits[name] = Split(split.images[rows], split.labels[rows])
    write_images(path, read_description(source), splits)


def measure(dataset: str, count: int) -> list[dict[str, Any]]:
    originals = count // (CLASSES - 1)
    records = []
    with tempfile.TemporaryDirectory(dir=ROOT / "data") as name:
        folder = Path(name)
        params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
        half = originals // 2 // CLASSES * CLASSES
        params["sources"][dataset] = {"train": originals - half, "test": half}
        params["defenses"]["undefended"][dataset]["sets"] = ["minimal"]
        with open(folder / "params.yaml", "w") as handle:
            YAML().dump(params, handle)
        images = folder / "images.h5"
        repeated(dataset, originals, images)
        for stage, command in stages(dataset, images, folder).items():
            seconds, memory = run(command)
            records.append(
                {"dataset": dataset, "stage": stage, "images": 9 * originals, "seconds": round(seconds, 1),
                 "peak_memory_mib": memory}
            )  # fmt: skip
            print(records[-1], flush=True)
    return records


def main() -> None:
    arguments = options(__doc__, dataset="mnist", images=[900, 9000, 90000], digits=900000)
    records = []
    for count in sorted(arguments.images):
        records += measure(arguments.dataset, count)
    if arguments.digits:
        for count in (arguments.digits // 100, arguments.digits // 10, arguments.digits):
            records += measure("digits", count)
    write("scaling", {**about(), "runs": records})


if __name__ == "__main__":
    main()
