"""What stands in place of an artifact that does not apply."""

from pathlib import Path

import pytest

from pipeline.artifacts.left_out import or_left_out, reason_left_out
from pipeline.errors import LeftOut, PipelineError


def test_a_reason_stands_until_what_was_left_out_is_made(tmp_path: Path) -> None:
    paths = tmp_path / "set.h5", tmp_path / "folder"
    with or_left_out(*paths):
        paths[1].mkdir()
        (paths[1] / "half").touch()
        raise LeftOut("too large")
    assert [reason_left_out(path) for path in paths] == ["too large"] * 2
    assert not (paths[1] / "half").exists()
    with or_left_out(*paths):  # as another size of the images would have it
        paths[0].write_bytes(b"a set")
        (paths[1] / "table").touch()
    assert [reason_left_out(path) for path in paths] == [None] * 2
    assert [path.name for path in paths[1].iterdir()] == ["table"]


def test_an_error_is_no_reason(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="another"), or_left_out(tmp_path / "folder"):
        raise PipelineError("another")
    assert not (tmp_path / "folder").exists()
