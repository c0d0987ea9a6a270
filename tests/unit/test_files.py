"""Files and folders: written whole or not at all, by one process at a time."""

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from pipeline.artifacts import storage
from pipeline.artifacts.files import replacing, replacing_folder, told_by_system, unreadable
from pipeline.artifacts.tensors import writing_tensors
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


DENIED = "Permission denied: make it, and the folder that it is in, readable and writable"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "as HDF5 says it, errno = 13, o_flags = 242"), DENIED),
        (PermissionError("without a number"), DENIED),
        (OSError(errno.ENOSPC, "no room"), "No space left on device: make room, then run it again"),
        (OSError(errno.EROFS, ""), "Read-only file system: work on a disk that can be written"),
        (OSError(errno.EISDIR, "buf = 0x7ff"), "Is a directory"),
        (OSError("text alone"), "text alone"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(error: OSError, words: str) -> None:
    assert told_by_system(error) == words


def test_a_file_that_may_not_be_read_is_not_called_damaged() -> None:
    for error in (PermissionError(errno.EACCES, "long"), SafetensorError("I/O error (os error 13)")):
        assert str(unreadable("a.h5", "an HDF5 file", error)) == f"a.h5: cannot be read: {DENIED}"
    words = "a.h5: expected an HDF5 file, found something else or a truncated one: delete it, "
    assert str(unreadable("a.h5", "an HDF5 file", OSError("bad signature"))).startswith(words)


def test_libraries_errors_in_writing_are_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.h5"

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Unable to synchronously create file (o_flags = 242)")

    monkeypatch.setattr(storage.h5py, "File", denied)
    with pytest.raises(PermissionError) as caught, replacing(path) as part, storage.writing(part):
        pass
    assert (caught.value.filename, caught.value.strerror) == (str(path), "Permission denied")
    with pytest.raises(PermissionError) as caught, writing_tensors(path):
        raise SafetensorError("Error while serializing: I/O error: Permission denied (os error 13)")
    assert (caught.value.filename, caught.value.strerror) == (str(path), "Permission denied")


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


def test_a_folder_of_the_same_files_stays_another_is_replaced(tmp_path: Path) -> None:
    """DVC may be reading it, after another run of the same stage."""
    folder = tmp_path / "x"

    def write(**texts: str) -> None:
        with replacing_folder(folder) as part:
            for name, text in texts.items():
                (part / name).mkdir()
                (part / name / "deep").write_text(text)

    write()
    assert folder.is_dir()
    write(a="1", b="2")
    with open(folder / "a/deep") as held:
        before = folder.stat().st_ino
        write(a="1", b="2")
        assert folder.stat().st_ino == before
        assert os.fstat(held.fileno()).st_nlink == 1
        for other in ({"a": "1", "b": "3"}, {"a": "1"}, {"a": "1", "c": "2"}):
            write(**other)
            assert {path.parent.name: path.read_text() for path in folder.glob("*/deep")} == other
        assert os.fstat(held.fileno()).st_nlink == 0
    assert list(tmp_path.iterdir()) == [folder]


def test_an_error_names_the_folder_and_not_its_part(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found, replacing_folder(tmp_path / "x") as part:
        (part / "none/file").write_text("")
    assert found.value.filename == str(tmp_path / "x/none/file")


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
