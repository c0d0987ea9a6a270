"""The checksum of raw files, so that DVC sees when others lie there."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.artifacts.files import checksum_of, read_json, replacing, unreadable

NOTE = "a note of raw files"


@dataclass(frozen=True)
class RawFiles:
    """Which raw files a study's images come from: the source as the study names it, how many, bytes and checksum."""

    source: str
    files: int
    bytes: int
    checksum: str


class Listing:
    """Files as they lie there: `paths`, `bytes`, and a `digest` of names, sizes, times of change and inodes."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.bytes = paths, 0
        digest = hashlib.sha256()
        for path in paths:
            found = os.stat(path)
            self.bytes += found.st_size
            digest.update(f"{path}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}\n".encode())
        self.digest = digest.hexdigest()


def look_at(listing: Listing, folder: Path, source: str, index: Path) -> RawFiles:
    """SHA-256 over names (from `folder` on) and contents.

    All is read the first time, and whenever the listing differs from what `index` remembers; else that does, as git
    does it.
    """
    checksum = remembered(listing, index)
    if not checksum:
        digest = hashlib.sha256()
        for path in listing.paths:
            name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
            digest.update(name.encode() + b"\0" + bytes.fromhex(checksum_of(path)))
        checksum = digest.hexdigest()
        with replacing(index) as part:
            part.write_text(json.dumps({"listing": listing.digest, "checksum": checksum}), encoding="utf-8")
    return RawFiles(source, len(listing.paths), listing.bytes, checksum)


def remembered(listing: Listing, index: Path) -> str:
    """The checksum of these files, if they were looked at before and are unchanged; else nothing."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
        return str(found["checksum"]) if found["listing"] == listing.digest else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def beneath(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Files beneath a folder whose names are wanted and not hidden, in the order of their paths; links are followed."""
    found, seen = [], set()
    for root, folders, names in os.walk(folder, followlinks=True):
        about = os.stat(root)
        if (about.st_dev, about.st_ino) in seen:  # a link to a folder that holds it
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(root, name) for name in names if not name.startswith(".") and wanted(name)]
    return [Path(path) for path in sorted(found, key=lambda path: path.split(os.sep))]


def write_raw_files(path: Path, found: RawFiles) -> None:
    """Write what was found."""
    with replacing(path) as part:
        part.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


def read_raw_files(path: Path) -> RawFiles | None:
    """What was written there last; None if there is nothing. Raises PipelineError if it is something else."""
    if not path.is_file():
        return None
    found = read_json(path, NOTE)
    try:
        return RawFiles(**found)
    except TypeError as error:
        raise unreadable(path, f"JSON ({NOTE})", error) from None
