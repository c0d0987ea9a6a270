"""Check a study's params file: names, before any reaches a shell or a path, and numbers; look at its own files.

Run in the study's folder, without a word: its name is the folder's. Runs each time, for DVC does not know those files;
the numbers, which takes PyTorch to be imported, are looked at where the file or the code is another than last time.

Reads:  params.yaml of the study; its own Python files, the weights that it brings, images made elsewhere.
Writes: the words among its params: keys of attacks and defenses, `method`, `learned`, `replicates.defenses`, what
        builds the classifier; the checksums of those files. It changes when one of them does.
Params: all.
"""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.artifacts.code import write_fingerprint
from pipeline.artifacts.files import canonical_json, checksum_of, replacing
from pipeline.errors import PipelineError
from pipeline.own_files import imported, imported_checksum, installed, own_files
from pipeline.registry import IMPORTED, has_file, serve_own_files
from pipeline.stages.command import WORK, command
from pipeline.studies import Study
from pipeline.study_blocks import checked_name

WORDS = ("method", "learned")
TAKEN = ("kind", "build", "retrain")  # of classifier: what code is run


def main() -> None:
    name = Path.cwd().name
    os.chdir("../..")
    study = Study(name)
    found = words(study)
    check_numbers(study, found)
    write_fingerprint(study.path("words"), found)


def check_numbers(study: Study, found: dict[str, Any]) -> None:
    """Raise PipelineError at the first number that no stage would take. found : the study's `words`."""
    house = Path(__file__).parents[1]
    code = {path.relative_to(house).as_posix(): checksum_of(path) for path in sorted(house.rglob("*.py"))}
    digest = hashlib.sha256(canonical_json([checksum_of(study.file), found, code]).encode())
    taken, done = digest.hexdigest().encode(), WORK / "checked" / study.name
    with suppress(OSError):  # what cannot be read is looked at again
        if done.read_bytes() == taken:
            return
    from pipeline.stages.rehearsal import rehearse  # here: it reaches PyTorch, and most runs change no number

    serve_own_files(study.folder)
    rehearse(study)
    try:
        with replacing(done) as part:
            part.write_bytes(taken)
    except OSError as error:
        print(f"{done}: not written: {error.strerror or error}: the next run looks again", file=sys.stderr)


def words(study: Study) -> dict[str, Any]:
    """Of `other_attacks`, `defenses` and `adaptive` the keys, `method` and `learned` of each; `replicates.defenses`."""
    return {
        "other_attacks": {key: _named(study, f"other_attacks.{key}") for key in study.other_attacks},
        "defenses": {
            family: {name: _named(study, _where(family, name)) for name in names}
            for family, names in study.families.items()
        },
        "replicates": [checked_name(name, study.where("replicates.defenses")) for name in _replicated(study)],
        "adaptive": {part: _adaptive(study, f"adaptive.{part}") for part in study.block("adaptive")},
        "classifier": {name: value for name, value in study.block("classifier").items() if name in TAKEN},
        "imported": {key: imported_checksum(study, key) for key in imported(study)},
        "files": {path.as_posix(): checksum_of(path) for path in own_files(study)},
        "installed": installed(study),
    }


def _replicated(study: Study) -> tuple[str, ...]:
    wanted: tuple[str, ...] = (
        study.checked("replicates.defenses", tuple[str, ...]) if study.value("replicates.count") else ()
    )
    return wanted


def _adaptive(study: Study, key: str) -> dict[str, Any]:
    block = study.block(key)
    found: dict[str, Any] = {p: _named(study, f"{key}.{p}") for p in ("ascent", "shortest") if p in block}
    if "others" in block:
        found["others"] = {name: _named(study, f"{key}.others.{name}") for name in study.block(f"{key}.others")}
        elsewhere = imported(study)
        for name, about in found["others"].items():
            method = about.get("method", name)  # an attack's file; a set made elsewhere may be called like one
            if method == IMPORTED or (method in elsewhere and not has_file("attacks", method)):
                where = study.where(f"{key}.others.{name}")
                raise PipelineError(f"{where}: expected an attack that can be run, found images made elsewhere")
    return found


def _where(family: str, name: str) -> str:
    return f"defenses.{family}" if name == family else f"defenses.{family}.variants.{name}"


def _named(study: Study, key: str) -> dict[str, Any]:
    block = study.block(key)
    return {name: checked_name(block[name], study.where(f"{key}.{name}")) for name in WORDS if name in block}


if __name__ == "__main__":
    command(main, "--debug" in sys.argv, [])
