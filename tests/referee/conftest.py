"""Fixtures: the studies that have been reproduced, their metrics and evaluations."""

import json
from typing import Any

import pandas as pd
import pytest

from tests.stored import TREE


@pytest.fixture(scope="module", params=["digits", "mnist", "cifar10", "cifar10-resnet20", "demo"])
def study(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    for path in (TREE / f"reports/metrics/{name}.json", TREE / f"data/detection/{name}/chosen.parquet"):
        if not path.is_file():
            pytest.skip(f"{path}: no such file: the study has not been reproduced here")
    return name


@pytest.fixture(scope="module")
def metrics(study: str) -> dict[str, Any]:
    return json.loads((TREE / f"reports/metrics/{study}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def evaluations(study: str, metrics: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """By defense, what it did with each image of every set."""
    found = {}
    for family, names in metrics["families"].items():
        for name in names:
            own = f"{family}.parquet" if name == family else f"{family}/{name}.parquet"
            paths = [
                TREE / f"data/evaluations/{study}/{own}",
                TREE / f"data/other_evaluations/{study}/{family}/{name}.parquet",
            ]
            found[name] = pd.concat([pd.read_parquet(path) for path in paths if path.is_file()], ignore_index=True)
    return found
