"""`reports/metrics/<study>.json`: the numbers of a study, read by `dvc metrics show`."""

import json
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, replacing


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write nested numbers as indented JSON, keys in the order given."""
    with replacing(path) as part:
        part.write_text(json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_metrics(path: Path) -> dict[str, Any]:
    """The numbers back; PipelineError if the file is missing or no JSON."""
    metrics: dict[str, Any] = read_json(path, "metrics")
    return metrics
