"""Render the page that compares the studies and leads to their reports.

Reads:  the collected metrics of the listed studies; what was found of every two of them on the same images.
Writes: reports/index.html.
Params: studies, of the root's params.yaml.
"""

import sys
from pathlib import Path

from pipeline.artifacts.files import read_json
from pipeline.artifacts.metrics import read_metrics
from pipeline.artifacts.pages import write_page
from pipeline.params import check_value, read_yaml
from pipeline.reporting.page import render_index
from pipeline.stages.collect import COLLECTED
from pipeline.stages.command import command
from pipeline.stages.transfer import LISTED, PARAMS

INDEX = Path("reports/index.html")


def main() -> None:
    studies = check_value(read_yaml(PARAMS).get("studies"), list[str], f"{PARAMS}: studies")
    metrics = {name: read_metrics(COLLECTED / f"{name}.json") for name in studies}
    write_page(INDEX, render_index(metrics, read_json(LISTED, "pairs of studies")["pairs"]))


if __name__ == "__main__":
    command(main, "--debug" in sys.argv, [])
