"""The stage that looks at a study's numbers: again when they changed, and in one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.root import ROOT
from tests.studies import START, change, put


@pytest.fixture
def check(folder: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    command = [sys.executable, "-m", "pipeline.stages.check_params"]
    where = folder / f"studies/{START}"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=where, env={"PYTHONPATH": "../.."}, capture_output=True, text=True)

    return run


def test_the_numbers_are_looked_at_again_when_they_changed(
    folder: Path, check: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    remembered = folder / f".work/checked/{START}"
    assert check().returncode == 0
    first = remembered.read_bytes()
    change(folder, put("sizes/originals", 0))
    for _ in range(2):
        done = check()
        assert done.returncode == 1
        assert done.stderr == (
            f"error: studies/{START}/params.yaml: sizes.originals: expected a whole number in [1, 1e+06], found 0\n"
        )
        assert remembered.read_bytes() == first
    change(folder, put("sizes/originals", 30))
    remembered.unlink()
    remembered.mkdir()
    done = check()
    assert done.returncode == 0
    assert f".work/checked/{START}: not written: " in done.stderr
    remembered.rmdir()
    remembered.write_bytes(b"\xff")
    assert check().returncode == 0
    assert remembered.read_bytes() not in (first, b"\xff")


@pytest.mark.parametrize(
    "line", ["seed: 2024-02-30", "seed: !!int x", "seed: " + "9" * 5000, "a: " + "[" * 3000, 'images: {"a\\nb": 1}']
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(
    folder: Path, check: Callable[[], subprocess.CompletedProcess[str]], line: str
) -> None:
    file = folder / f"studies/{START}/params.yaml"
    text = file.read_text(encoding="utf-8").replace("\nseed: ", "\nseed_: ") + line + "\n"
    file.write_text(text, encoding="utf-8")
    done = check()
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
