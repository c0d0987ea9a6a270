"""Time and peak memory of generate_adversarial against the number of images.

    python benchmarks/memory.py [--dataset mnist] [--originals 1000 10000]

Runs the stage in a process of its own for each number of originals (nine images each), half of them from
each split, with few steps, and writes benchmarks/results/memory.json. The goal: ten times the images need
at most 1.2 times the memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--originals", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    dataset, records, largest = arguments.dataset, [], 0
    for count in sorted(arguments.originals):
        params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
        params["sources"][dataset] = {"train": count // 2, "test": count - count // 2}
        params["attacks"]["minimal"][dataset]["max_steps"] = arguments.steps
        with tempfile.TemporaryDirectory(dir=ROOT / "data") as folder:
            with open(Path(folder) / "params.yaml", "w") as handle:
                YAML().dump(params, handle)
            started = time.perf_counter()
            subprocess.run(
                [
                    sys.executable, "-m", "pipeline.stages.generate_adversarial", "--dataset", dataset,
                    "--attack", "minimal", "--start", f"data/images/{dataset}.h5",
                    "--classifier", f"data/classifiers/{dataset}.safetensors",
                    "--out", f"{folder}/minimal.h5", "--params", f"{folder}/params.yaml",
                ],
                cwd=ROOT, check=True, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        # The largest of all children so far: counts grow, so each record is its own unless memory fell.
        largest = max(largest, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
        seconds = round(time.perf_counter() - started, 1)
        records.append({"images": 9 * count, "seconds": seconds, "peak_memory_mib": largest})
    ratio = round(records[-1]["peak_memory_mib"] / records[0]["peak_memory_mib"], 3)
    result = {"dataset": dataset, "max_steps": arguments.steps, "runs": records, "memory_ratio": ratio}
    text = json.dumps(result, indent=2)
    (ROOT / "benchmarks/results/memory.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
