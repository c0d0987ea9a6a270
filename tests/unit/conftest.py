"""A project with a study to be changed."""

from pathlib import Path

import pytest

from tests.studies import START, copy_study


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with the study START in it and nothing else."""
    copy_study(START, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
