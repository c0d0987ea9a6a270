"""Take a study's metrics along for what is made of several studies.

Reads:  the study's metrics.
Writes: a copy.
Params: none.
"""

from pathlib import Path

from pipeline.artifacts.metrics import read_metrics, write_metrics
from pipeline.stages.command import run
from pipeline.studies import Study

COLLECTED = Path("data/collected")


def main(study: Study) -> None:
    write_metrics(COLLECTED / f"{study.name}.json", read_metrics(study.path("metrics")))


if __name__ == "__main__":
    run(main, __doc__)
