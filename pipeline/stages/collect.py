"""Take a study's metrics along for what is made of several studies, and note of which files it is made.

Reads:  the study's metrics; of what `transfer` reads the checksums, the code that does it included.
Writes: a copy; the checksums, by file.
Params: none.
"""

from pathlib import Path

from pipeline.artifacts.code import write_fingerprint
from pipeline.artifacts.files import checksum_of
from pipeline.artifacts.metrics import read_metrics, write_metrics
from pipeline.stages.command import run
from pipeline.studies import Study
from pipeline.study_blocks import PAPER_ATTACKS

COLLECTED = Path("data/collected")


def main(study: Study) -> None:
    write_metrics(COLLECTED / f"{study.name}.json", read_metrics(study.path("metrics")))
    # DVC cannot name the files of all listed studies in one stage: it depends on these notes.
    files = [
        study.path("code") / "stages/transfer.json",
        study.path("images"),
        study.path("classifier"),
        *(study.path(attack) for attack in PAPER_ATTACKS),
        *(study.path("statistics", attack) / "examples.parquet" for attack in PAPER_ATTACKS),
        *sorted(study.path("evaluation", "undefended").parent.rglob("*.parquet")),
    ]
    write_fingerprint(COLLECTED / f"{study.name}.files.json", {path.as_posix(): checksum_of(path) for path in files})


if __name__ == "__main__":
    run(main, __doc__)
