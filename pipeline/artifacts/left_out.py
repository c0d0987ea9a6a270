"""What stands in place of an artifact where an attack or a defense cannot apply to the study: the reason.

A folder then holds `left_out.json` and nothing else of its own; a table has no rows, and a set no datasets.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from pipeline.artifacts.files import canonical_json, damaged, read_json, replacing, replacing_folder
from pipeline.artifacts.statistics import write_frame
from pipeline.artifacts.storage import write_attributes, writing
from pipeline.errors import LeftOut
from pipeline.studies import Study

SCHEMA, VERSION = "left_out", 1
RECORD = "left_out.json"
WHAT = "why something was left out"


def leave_out(reason: str, *paths: Path) -> None:
    """Write the reason at each path: a set (.h5), a table (.parquet), or a folder, which is emptied."""
    for path in paths:
        if path.suffix == ".h5":
            with replacing(path) as part, writing(part) as file:
                write_attributes(file, {"schema": SCHEMA, "schema_version": VERSION, "reason": reason})
        elif path.suffix == ".parquet":
            write_frame(path, pd.DataFrame(), SCHEMA, {"reason": reason})
        else:
            with replacing_folder(path) as part:
                note_left_out(part, reason)


@contextmanager
def or_left_out(*paths: Path) -> Iterator[None]:
    """A block that makes what belongs at these paths; where it raises LeftOut, the reason is written there instead.

    What an earlier run has noted in a folder of them is no reason any more.
    """
    for path in paths:
        if not path.suffix:
            (path / RECORD).unlink(missing_ok=True)
    try:
        yield
    except LeftOut as reason:
        leave_out(str(reason), *paths)


def note_left_out(folder: Path, reason: str) -> None:
    """Add the reason to what is in a folder."""
    with replacing(folder / RECORD) as part:
        part.write_text(canonical_json({"reason": reason}) + "\n", encoding="utf-8")


def reason_left_out(path: Path) -> str | None:
    """Why what should be in this folder, or this set, was left out; None: it was not."""
    if path.suffix == ".h5":
        if not path.is_file() or not h5py.is_hdf5(path):
            return None  # who reads it says what is wrong
        with h5py.File(path) as file:
            return str(file.attrs["reason"]) if file.attrs.get("schema") == SCHEMA else None
    record = path / RECORD
    if not record.is_file():
        return None
    found = read_json(record, WHAT)
    if not isinstance(found, dict) or "reason" not in found:
        raise damaged(record, f"expected {WHAT}, found {found!r}")
    return str(found["reason"])


def what_applies(study: Study) -> tuple[Study, dict[str, Any]]:
    """The study without what was left out of it, and the reasons: of `attacks`, of `defenses`, of `parts`."""
    places = {
        "attacks": {key: study.path("statistics", key) for key in study.other_attacks},
        "defenses": {key: study.path("learning", key) for key in study.families},
        "parts": {part: study.path(part) for part in ("sizes", "replicates")},
    }
    reasons = {
        kind: {key: reason for key, path in paths.items() if (reason := reason_left_out(path))}
        for kind, paths in places.items()
    }
    return study.without(reasons["attacks"], reasons["defenses"]), reasons
