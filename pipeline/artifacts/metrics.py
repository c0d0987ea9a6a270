"""`reports/metrics/<study>.json`: the numbers of a study, read by `dvc metrics show`; `reports/earlier.json`."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, replacing
from pipeline.errors import PipelineError


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write nested numbers as indented JSON, keys in the order given."""
    with replacing(path) as part:
        part.write_text(json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_metrics(path: Path) -> dict[str, Any]:
    """The numbers back; PipelineError if the file is missing or no JSON."""
    metrics: dict[str, Any] = read_json(path, "metrics")
    return metrics


def read_earlier(path: Path) -> dict[str, Any]:
    """`reports/earlier.json`: `commit`, and by study in `studies` its headline numbers then.

    Raises PipelineError if the file, which comes with git, is missing or another.
    """
    found: Any = None
    with suppress(FileNotFoundError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or {"commit", "studies"} - found.keys() or not isinstance(found["studies"], dict):
        raise PipelineError(f"{path}: expected the headline numbers of an earlier commit: git checkout -- {path}")
    return found
