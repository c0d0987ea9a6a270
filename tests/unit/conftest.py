"""A project with a study to be changed, and a folder for raw files."""

from pathlib import Path

import pytest

from tests.studies import START, copy_study


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with the study START in it and nothing else."""
    copy_study(START, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the raw files of a data set called "mine" are looked for."""
    monkeypatch.setenv("DATASETS_DIR", str(tmp_path))
    return tmp_path / "mine"
