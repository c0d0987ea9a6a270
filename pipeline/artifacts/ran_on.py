"""`data/devices/<study>/`: which device each stage that computes with PyTorch ran on, a file per stage and key."""

from collections.abc import Collection
from pathlib import Path

from pipeline.artifacts.files import canonical_json, damaged, read_json, replacing

WHAT = "the device that a stage ran on"


def write_device(path: Path, device: str) -> None:
    """The device in words: a GPU's name, or the CPU's and its threads."""
    with replacing(path) as part:
        part.write_text(canonical_json({"device": device}) + "\n", encoding="utf-8")


def read_devices(folder: Path, keys: Collection[str]) -> dict[str, str]:
    """By stage, or stage and key with a hyphen between them, the device in words.

    keys : of the study's defenses and attacks; the file of one that was taken out is still there.

    Raises PipelineError if a file is not one of these.
    """
    found = {}
    for file in sorted(folder.glob("*.json")):
        if "-" in file.stem and file.stem.split("-", 1)[1] not in keys:
            continue
        record = read_json(file, WHAT)
        if not isinstance(record, dict) or not isinstance(record.get("device"), str):
            raise damaged(file, f"expected {WHAT}, found {record!r}")
        found[file.stem] = record["device"]
    return found
