"""`data/evaluations/<study>/<family>.parquet`: what a defense did with each image of each set."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts.statistics import read_frame, write_frame

SCHEMA = "evaluation"


def write_evaluation(path: Path, frame: pd.DataFrame, about: dict[str, Any]) -> None:
    """Write one row per (image, set); `about` names dataset, defense, arguments and class names."""
    write_frame(path, frame, SCHEMA, about)


def read_evaluation(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows and what they are about; PipelineError if the file is missing or no such table."""
    return read_frame(path, SCHEMA)
