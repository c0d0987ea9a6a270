"""`choices.json`: what rules chose on validation images, and what else they tried."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.storage import replacing
from pipeline.errors import PipelineError
from pipeline.metrics.choices import Choice


def write_choices(path: Path, choices: Mapping[str, Choice]) -> None:
    """Write `{name: {value, rule, narrow, tried}}`, keys sorted."""
    found = {name: vars(choice) for name, choice in choices.items()}
    with replacing(path) as part:
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")


def read_records(path: Path) -> dict[str, Choice]:
    """The choices back; PipelineError if the file is missing or no such JSON."""
    try:
        found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return {name: Choice(**about) for name, about in found.items()}
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected what the rules chose: run dvc repro") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise PipelineError(f"{path}: expected a table of choices: {error}") from None


def read_choices(path: Path) -> dict[str, float | None]:
    """The values alone, by name; None where no setting met the rule."""
    return {name: choice.value for name, choice in read_records(path).items()}
