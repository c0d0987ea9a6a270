"""Write the README's tables and figures from the committed metrics and benchmarks: `make readme`."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.common import DATASETS, ROOT
from pipeline.artifacts.metrics import read_metrics
from pipeline.artifacts.pages import as_png
from pipeline.reporting.readme import attacks_table, defenses_table, gac_table, results_table, with_tables

# Table by marker: the benchmark that it comes from, and the figure under it.
TABLES = {
    "speeds": ("attacks", tables.speeds_table, None),
    "same rule": ("generation", tables.same_rule_table, None),
    "best of ours": ("generation", partial(tables.best_table, ours_first=True), "images/s against mean L2"),
    "best of the peers": ("generation", partial(tables.best_table, ours_first=False), None),
    "ceiling": ("ceiling", tables.ceiling_table, None),
    "gac epochs": ("gac", tables.gac_epochs_table, None),
    "ensemble": ("dropout_ensemble", tables.ensemble_table, None),
    "scaling": ("scaling", tables.scaling_table, "time and memory against the number of images"),
}
FIGURES = {"generation": tables.generation_figure, "scaling": tables.scaling_figure}


def committed_metrics() -> dict[str, dict[str, Any]]:
    return {name: read_metrics(ROOT / f"reports/metrics/{name}.json") for name in DATASETS}


def rendered(readme: str) -> str:
    """The README's text with the tables that the committed numbers give."""
    metrics = committed_metrics()
    return with_tables(
        readme,
        {
            "results": results_table(metrics),
            **{f"defenses on {name}": defenses_table(entry) for name, entry in metrics.items()},
            "gac": gac_table(metrics),
            "attacks": attacks_table(metrics),
            **{marker: benchmark_table(*about) for marker, about in TABLES.items()},
        },
    )


def benchmark_table(name: str, table: Callable[[Any], str], words: str | None) -> str:
    """The table of a benchmark and its figure, if it has been run."""
    if not result(name).exists():
        return "Not measured on the committed code yet: `make bench`."
    figure = f"\n\n![{words}](benchmarks/results/{name}.png)" if words else ""
    return table(json.loads(result(name).read_text())) + figure


def result(name: str) -> Path:
    return ROOT / f"benchmarks/results/{name}.json"


def main() -> None:
    path = ROOT / "README.md"
    path.write_text(rendered(path.read_text()))
    for name, figure in FIGURES.items():
        if result(name).exists():
            picture = as_png(figure(json.loads(result(name).read_text())))
            result(name).with_suffix(".png").write_bytes(picture)


if __name__ == "__main__":
    main()
