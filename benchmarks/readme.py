"""Write the README's table of results from the committed metrics: `make readme`."""

from pathlib import Path

from pipeline.artifacts.metrics import read_metrics
from pipeline.reporting.readme import with_results

ROOT = Path(__file__).parents[1]
ORDER = ("digits", "mnist", "cifar10")


def main() -> None:
    path = ROOT / "README.md"
    metrics = {name: read_metrics(ROOT / f"reports/metrics/{name}.json") for name in ORDER}
    path.write_text(with_results(path.read_text(), metrics))


if __name__ == "__main__":
    main()
