"""Pages that are written from committed numbers, as git has them: whoever measures anew breaks nothing."""

import json
import subprocess
from typing import Any

import pytest

from benchmarks.pages import benchmarks_page
from tests.root import ROOT


def committed(path: str) -> str:
    done = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode:
        pytest.skip(f"git has no {path}: {done.stderr.strip()}")
    return done.stdout


def committed_json(folder: str) -> dict[str, Any]:
    """By name what is in the JSON files of a folder."""
    command = ["git", "ls-tree", "--name-only", "HEAD", f"{folder}/"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    return {
        name.removeprefix(f"{folder}/").removesuffix(".json"): json.loads(committed(name))
        for name in names
        if name.endswith(".json")
    }


def test_speed_is_what_was_measured() -> None:
    on_gpu = {f"gpu/{name}": result for name, result in committed_json("benchmarks/results/gpu").items()}
    assert benchmarks_page(committed_json("benchmarks/results") | on_gpu) == committed("benchmarks/README.md")


def test_results_are_those_of_the_metrics() -> None:
    results_page = pytest.importorskip("pipeline.reporting.results_page")
    assert results_page.results_page(committed_json("reports/metrics")) == committed("reports/README.md")
