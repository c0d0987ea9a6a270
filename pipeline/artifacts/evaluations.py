"""`data/evaluations/<dataset>/<defense>.parquet`: what a defense did with each image of each set."""

from collections.abc import Mapping
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


def read_evaluations(
    folder: Path, listed: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[pd.DataFrame, dict[str, Any]]]:
    """The evaluations in `folder` by defense, in the order of `listed` (params.yaml, evaluations) for this dataset.

    What is not listed any more is left out. Raises PipelineError if one is missing: a folder as a dependency
    tells DVC when to run, but not that all is there.
    """
    names = [entry["defense"] for entry in listed.values() if entry["dataset"] == folder.name]
    return {name: read_evaluation(folder / f"{name}.parquet") for name in names}
