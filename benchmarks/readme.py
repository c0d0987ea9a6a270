"""Write the README's tables from the committed metrics and benchmarks: `make readme`."""

import json
from pathlib import Path

from pipeline.artifacts.metrics import read_metrics
from pipeline.reporting.readme import with_tables

ROOT = Path(__file__).parents[1]
ORDER = ("digits", "mnist", "cifar10")


def main() -> None:
    path = ROOT / "README.md"
    metrics = {name: read_metrics(ROOT / f"reports/metrics/{name}.json") for name in ORDER}
    speeds = json.loads((ROOT / "benchmarks/results/attacks.json").read_text())
    path.write_text(with_tables(path.read_text(), metrics, speeds))


if __name__ == "__main__":
    main()
