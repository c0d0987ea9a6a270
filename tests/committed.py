"""What git has, whatever lies in the working tree: a person's own run is not judged."""

import json
import subprocess
from typing import Any

import pytest

from tests.root import ROOT

DATASETS = ("digits", "mnist", "cifar10")  # of the studies that run in full


def committed(path: str, commit: str = "HEAD") -> str:
    """The text of a file; skips the test where git has no such commit: no clone, or a shallow one."""
    done = subprocess.run(
        ["git", "show", f"{commit}:{path}"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode:
        there = subprocess.run(
            ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
        )
        (pytest.fail if there.returncode == 0 else pytest.skip)(f"git has no {path}: {done.stderr.strip()}")
    return done.stdout


def committed_names(folder: str) -> list[str]:
    """Names of what is in a folder."""
    command = ["git", "ls-tree", "--name-only", "HEAD", f"{folder}/"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.skip(f"git has no commit: {done.stderr.strip()}")
    return [name.removeprefix(f"{folder}/") for name in done.stdout.splitlines()]


def committed_json(folder: str) -> dict[str, Any]:
    """By name what is in the JSON files of a folder."""
    return {
        name.removesuffix(".json"): json.loads(committed(f"{folder}/{name}"))
        for name in committed_names(folder)
        if name.endswith(".json")
    }
