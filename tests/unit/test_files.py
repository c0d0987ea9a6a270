"""Files and folders: written whole or not at all, by one process at a time."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.artifacts.files import replacing, replacing_folder
from tests.root import ROOT


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    with replacing(path) as part:
        part.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as part:
        part.write_text("new, half-writ")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_writer_left_is_deleted_and_a_live_ones_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for kind in ("file", "folder"):
        path, node = tmp_path / kind / "x", platform.node()
        dead, alive = (path.with_name(f"x.{node}-{pid}.part") for pid in (ended.pid, os.getppid()))
        for part in (dead, alive):
            part.mkdir(parents=True) if kind == "folder" else (part.parent.mkdir(exist_ok=True), part.write_text("p"))
        with (replacing_folder if kind == "folder" else replacing)(path) as part:
            (part / "inside" if kind == "folder" else part).write_text("whole")
        assert {found.name for found in path.parent.iterdir()} == {"x", alive.name}


LOCKING = """
import sys, time
from pathlib import Path
from pipeline.artifacts.files import locked

with locked(Path("it.lock"), "the thing"):
    print("in", flush=True)
    sys.stdin.readline()
    Path("log").open("a").write(sys.argv[1])
"""


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    def start(word: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", LOCKING, word], cwd=tmp_path, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    first = start("1")
    assert first.stdout.readline() == "in\n"  # type: ignore[union-attr]
    second = start("2")
    said = second.stderr.readline()  # type: ignore[union-attr]
    assert said == f"waiting for process {first.pid} on {platform.node()}, which makes the thing (it.lock)\n"
    second.stdin.write("\n")  # type: ignore[union-attr]
    second.stdin.flush()  # type: ignore[union-attr]
    first.kill()  # however it ends, its lock ends with it
    first.communicate()
    second.communicate()
    assert second.returncode == 0
    assert (tmp_path / "log").read_text() == "2"
