"""The benchmarks, but for what they measure."""

import importlib

import pytest

from tests.root import ROOT


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")))
def test_a_benchmark_finds_what_it_measures(name: str) -> None:
    """They are no part of the type check; a name that was moved would show first at the end of a long run."""
    assert importlib.import_module(f"benchmarks.{name}").__doc__
