"""What every format shares: files and folders that appear whole or not at all, and one writer at a time."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipeline.errors import PipelineError

REMEDY = (
    "delete it, and its copy in DVC's cache if that is broken too (pipeline/README.md, A damaged file), and run dvc "
    "repro"
)
NOT_ALLOWED = "make it, and the folder that it is in, readable and writable"
ADVICE = {
    errno.EACCES: NOT_ALLOWED,
    errno.EPERM: NOT_ALLOWED,
    errno.EROFS: "work on a disk that can be written",
    errno.ENOSPC: "make room, then run it again",
    errno.EDQUOT: "make room, then run it again",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the yielded `.part` path; it is flushed to disk and renamed to `path` on success.

    On any exception the part is deleted and `path` is left as it was. An OSError that names no file, or the part, names
    `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        yield part
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):
            error.filename = str(path)
        raise


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Likewise for a folder: the yielded one is there and empty; on success it takes the place of `folder`.

    Where `folder` holds the same, it stays: it may be read, by DVC after another run of the stage.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = _part(folder)
    part.mkdir()
    try:
        yield part
        if folder.is_dir() and _checksums(part) == _checksums(folder):
            shutil.rmtree(part)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(part, folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and error.filename:
            error.filename = str(error.filename).replace(str(part), str(folder))
        raise


def _checksums(folder: Path) -> dict[Path, str]:
    """Of the files in a folder, at any depth, by their path in it."""
    return {path.relative_to(folder): checksum_of(path) for path in folder.rglob("*") if path.is_file()}


def _part(path: Path) -> Path:
    """A name beside `path` that no other process takes; what killed ones have left under theirs is deleted."""
    mine = f".{platform.node()}-{os.getpid()}.part"
    for other in path.parent.glob(f"{glob.escape(path.name)}.{glob.escape(platform.node())}-*.part"):
        pid = other.name.removesuffix(".part").rpartition("-")[2]
        if other.name == path.name + mine or (pid.isdigit() and not _alive(int(pid))):
            shutil.rmtree(other) if other.is_dir() else other.unlink(missing_ok=True)
    return path.with_name(path.name + mine)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file at `path`: another process that makes `what` waits, and says for whom.

    The lock ends with the process, however it ends. Where none can be had, a line says so.
    """
    try:
        handle = _lock(path, what)
    except OSError as error:  # a folder that may not be written, a disk without locks
        print(f"{path}: not locked: {error.strerror or error}", file=sys.stderr)
        yield
        return
    with handle:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # there is more in it
                path.parent.rmdir()


def _lock(path: Path, what: str) -> IO[str]:
    """The lock file, open and locked, with this process's name in it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # who had the lock has just deleted it: once more
            handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115  # open for as long as it is locked
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                print(f"waiting for {holder}, which makes {what} ({path})", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle.fileno()).st_ino == path.stat().st_ino:
                handle.truncate(0)
                print(f"process {os.getpid()} on {platform.node()}", file=handle, flush=True)
                return handle
            handle.close()


def checksum_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds. Raises PipelineError, which says what was expected, if it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected {what}: run dvc repro") from None
    except ValueError as error:
        raise unreadable(path, f"JSON ({what})", error) from None


def damaged(path: Path | str, words: str) -> PipelineError:
    """Of an artifact that is not as it was written. words : what was expected of it, and what was found."""
    return PipelineError(f"{path}: {words}: {REMEDY}")


def unreadable(path: Path | str, expected: str, error: Exception) -> PipelineError:
    """Of an artifact that a library refuses: what the system has against it, or else that it is damaged."""
    if number := _number(error):
        return PipelineError(f"{path}: cannot be read: {_advised(number)}")
    return damaged(path, f"expected {expected}, found something else or a truncated one")


def told_by_system(error: OSError) -> str:
    """What the system says, without what a library makes of it, and what to do."""
    number = _number(error)
    return _advised(number) if number else str(error)


def as_os_error(error: Exception, path: Path | str) -> OSError | None:
    """The system's error behind a library's, naming the file; None if there is none."""
    number = _number(error)
    return OSError(number, os.strerror(number), str(path)) if number else None


def _advised(number: int) -> str:
    return ": ".join(filter(None, (os.strerror(number), ADVICE.get(number))))


def _number(error: Exception) -> int | None:
    """The system's number of an error: safetensors gives it in its text alone, or leaves it to the class."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return int(found[1])
    return errno.EACCES if isinstance(error, PermissionError) else None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
