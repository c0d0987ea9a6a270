"""`reports/metrics/<study>.json`: the numbers of a study, read by `dvc metrics show`."""

import json
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import replacing
from pipeline.errors import PipelineError


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write nested numbers as indented JSON, keys in the order given."""
    with replacing(path) as part:
        part.write_text(json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_metrics(path: Path) -> dict[str, Any]:
    """The numbers back; PipelineError if the file is missing or no JSON."""
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected metrics: run dvc repro") from None
    except ValueError as error:
        raise PipelineError(f"{path}: expected JSON: {error}") from None
    return metrics
