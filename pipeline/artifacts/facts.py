"""`data/classifiers/<study>.json`: of the attacked classifier who trained it, and how many weights it has."""

import json
from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, replacing


def write_facts(path: Path, trained_by: str, parameters: int) -> None:
    """Who trained a classifier, in words, and its number of weights."""
    with replacing(path) as part:
        facts = {"parameters": parameters, "trained_by": trained_by}
        part.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_facts(path: Path) -> dict[str, Any]:
    """`parameters` and `trained_by`. Raises PipelineError if the file is missing or no JSON."""
    facts: dict[str, Any] = read_json(path, "who trained the classifier")
    return facts
