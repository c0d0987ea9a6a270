"""`data/evaluations/<study>/<family>.parquet`: what a defense did with each image of each set."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts.files import damaged
from pipeline.artifacts.statistics import read_frame, write_frame
from pipeline.metrics.splits import TEST_SPLIT

SCHEMA = "evaluation"


def write_evaluation(path: Path, frame: pd.DataFrame, about: dict[str, Any]) -> None:
    """Write one row per (training, image, set); `about` names dataset, defense, arguments and class names."""
    write_frame(path, frame, SCHEMA, about)


def read_evaluation(path: Path, split: str = TEST_SPLIT) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of a split, "test" or "validation", and what they are about.

    Raises PipelineError if the file is missing or no such table.
    """
    frame, about = read_frame(path, SCHEMA)
    if missing := {"split", "training"} - set(frame):
        raise damaged(path, f"expected columns {', '.join(sorted(missing))}, found none")
    return frame[frame["split"] == split].reset_index(drop=True), about
