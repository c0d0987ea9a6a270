"""`choices.json`: what rules chose on validation images, and what else they tried."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, replacing, unreadable
from pipeline.metrics.choices import Choice

WHAT = "what rules chose"


def write_choices(path: Path, choices: Mapping[str, Choice]) -> None:
    """By parameter the fields of a Choice, keys sorted, numbers to 6 digits but for the value."""
    stored = {
        name: {**asdict(choice), "tried": [{key: _short(value) for key, value in row.items()} for row in choice.tried]}
        for name, choice in choices.items()
    }
    with replacing(path) as part:
        text = json.dumps(stored, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")


def read_choices(path: Path) -> dict[str, Choice]:
    """The choices; PipelineError if the file is missing or not one of ours."""
    stored = read_json(path, WHAT)
    try:
        return {name: Choice(**choice) for name, choice in stored.items()}
    except (TypeError, AttributeError) as error:
        raise unreadable(path, f"JSON ({WHAT})", error) from None


def _short(value: Any) -> Any:
    """To 6 digits; null for what is no number, such as a mean over no images."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
