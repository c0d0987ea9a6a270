"""Render the page that leads to the datasets' reports.

Reads:  the metrics of every dataset.
Writes: the index page.
Params: none.
"""

import argparse

from pipeline.artifacts.metrics import read_metrics
from pipeline.artifacts.pages import write_page
from pipeline.reporting.page import render_index
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    paths = sorted(arguments.metrics.glob("*.json"))
    metrics = {path.stem: read_metrics(path) for path in paths}
    write_page(arguments.index, render_index(metrics))


if __name__ == "__main__":
    run(
        main,
        __doc__,
        metrics="path of the folder of metrics (read)",
        index="path of the page (written)",
    )
