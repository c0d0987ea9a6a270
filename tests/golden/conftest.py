"""The metrics of full runs."""

import json
from typing import Any

import pytest

from tests.committed import DATASETS, committed, committed_json


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, Any]]:
    """By study as git has them; those of DATASETS have to be there."""
    named = {name: json.loads(committed(f"reports/metrics/{name}.json")) for name in DATASETS}
    return named | committed_json("reports/metrics")
