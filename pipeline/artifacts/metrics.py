"""`reports/metrics/<study>.json`: the numbers of a study, read by `dvc metrics show`; `reports/earlier.json`."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, replacing
from pipeline.errors import PipelineError

PROTOCOL = 3  # of a study's metrics, `run.protocol`: raised when what a figure means changes


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write nested numbers as indented JSON, keys in the order given."""
    with replacing(path) as part:
        part.write_text(json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_metrics(path: Path) -> dict[str, Any]:
    """A study's numbers back; PipelineError if the file is missing, no JSON, or its figures mean something else."""
    metrics: dict[str, Any] = read_json(path, "metrics")
    found = metrics.get("run", {}).get("protocol") if isinstance(metrics, dict) else None
    if found != PROTOCOL:
        raise PipelineError(
            f"{path}: expected figures as this code means them, protocol {PROTOCOL}, found {found}: run dvc repro, or "
            "take the code that they come from"
        )
    return metrics


def read_earlier(path: Path) -> dict[str, Any]:
    """`reports/earlier.json`: `commit`, and by study in `studies` its headline numbers then; in `changed`, what
    was changed of it after test figures had been seen.

    Raises PipelineError if the file, which comes with git, is missing or another.
    """
    found: Any = None
    with suppress(FileNotFoundError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
    if (
        not isinstance(found, dict)
        or {"commit", "studies", "changed"} - found.keys()
        or not isinstance(found["studies"], dict)
    ):
        raise PipelineError(f"{path}: expected the headline numbers of an earlier commit: git checkout -- {path}")
    return found
