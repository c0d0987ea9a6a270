"""The checksum of raw files, so that DVC sees when others lie there."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.artifacts.files import replacing
from pipeline.artifacts.raw.rows import file_digest
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class RawFiles:
    """Which raw files a study's images come from: the source as the study names it, how many, bytes and checksum."""

    source: str
    files: int
    bytes: int
    checksum: str


def look_at(paths: Sequence[Path], folder: Path, source: str, index: Path) -> RawFiles:
    """SHA-256 over names (from `folder` on) and contents.

    All is read the first time, and whenever a name, size, time of change or inode differs from what `index` remembers;
    else only those are looked at, as git does: a second for 60,000 files.
    """
    size = sum(path.stat().st_size for path in paths)
    checksum = _remembered(index, paths)
    if not checksum:
        digest = hashlib.sha256()
        for path in paths:
            name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
            digest.update(name.encode() + b"\0" + file_digest(path))
        checksum = digest.hexdigest()
        with replacing(index) as part:
            part.write_text(json.dumps({"listing": _listing(paths), "checksum": checksum}), encoding="utf-8")
    return RawFiles(source, len(paths), size, checksum)


def is_remembered(paths: Sequence[Path], index: Path) -> bool:
    """Whether these files, unchanged, were looked at before."""
    return bool(_remembered(index, paths))


def _remembered(index: Path, paths: Sequence[Path]) -> str:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
        return str(found["checksum"]) if found["listing"] == _listing(paths) else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _listing(paths: Sequence[Path]) -> str:
    listing = hashlib.sha256()
    for path in paths:
        found = path.stat()
        listing.update(f"{path}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}\n".encode())
    return listing.hexdigest()


def write_raw_files(path: Path, found: RawFiles) -> None:
    """Write what was found."""
    with replacing(path) as part:
        part.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


def read_raw_files(path: Path) -> RawFiles | None:
    """What was written there last; None if there is nothing. Raises PipelineError if it is something else."""
    if not path.is_file():
        return None
    try:
        return RawFiles(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise PipelineError(f"{path}: expected a note of raw files: {error}: delete it") from None
