"""What every format shares: files and folders that appear whole or not at all, and one writer at a time."""

import fcntl
import glob
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipeline.errors import PipelineError


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
        raise PipelineError(f"{path}: expected JSON: {error}") from None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
