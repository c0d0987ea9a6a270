"""Write the README's tables and figures from the committed metrics and benchmarks: `make readme`."""

import json
from pathlib import Path
from typing import Any

from benchmarks import tables
from pipeline.artifacts.metrics import read_metrics
from pipeline.artifacts.pages import as_png
from pipeline.reporting.readme import attacks_table, defenses_table, results_table, with_tables

ROOT = Path(__file__).parents[1]
ORDER = ("digits", "mnist", "cifar10")
# Whose committed metrics come from a run with adaptive attacks and the Generative Adversarial Classifier.
ATTACKED = ("digits",)


def rendered(readme: str) -> str:
    """The README's text with the tables that the committed numbers give."""
    metrics = {name: read_metrics(ROOT / f"reports/metrics/{name}.json") for name in ORDER}
    generation = read("generation")
    return with_tables(
        readme,
        {
            "results": results_table(metrics),
            **{f"defenses on {name}": defenses_table(metrics[name]) for name in ATTACKED},
            "attacks": attacks_table(metrics),
            "speeds": tables.speeds_table(read("attacks")),
            "same rule": tables.same_rule_table(generation),
            "best of ours": tables.ours_table(generation),
            "best of the peers": tables.best_table(generation),
            "ceiling": tables.ceiling_table(read("ceiling")),
            "scaling": tables.scaling_table(read("scaling")),
        },
    )


def read(name: str) -> Any:
    """The records of a benchmark."""
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())


def main() -> None:
    path = ROOT / "README.md"
    path.write_text(rendered(path.read_text()))
    for name, figure in (
        ("generation", tables.generation_figure(read("generation"))),
        ("scaling", tables.scaling_figure(read("scaling"))),
    ):
        (ROOT / f"benchmarks/results/{name}.png").write_bytes(as_png(figure))


if __name__ == "__main__":
    main()
