"""A folder of images: a folder per class, under train/ and test/ or under neither."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.raw.files import beneath
from pipeline.artifacts.raw.rows import TEST_NAMES, TRAIN_NAMES, Raw, Row, Rows, drawn_for_test
from pipeline.artifacts.raw.wanted import Wanted, contents
from pipeline.errors import PipelineError

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def files(wanted: Wanted) -> list[Path]:
    """All images beneath the folder."""
    return _images(wanted.path)


def read(wanted: Wanted) -> Raw:
    """Every image below a class's folder, in the order of their paths; the classes in the order of their names.

    Raises PipelineError if a class has no images, or train and test have other classes.
    """
    roots = _roots(wanted.path)
    classes = {split: _classes(root) for split, root in roots.items()}
    names = sorted(classes["train"])
    if "test" in classes and sorted(classes["test"]) != names:
        odd = sorted(set(names) ^ set(classes["test"]))
        raise PipelineError(
            f"{wanted.path}: expected the same classes in {roots['train'].name} and {roots['test'].name}, "
            f"found in one alone: {', '.join(odd[:8])}"
        )
    if len(names) < 2:
        raise PipelineError(
            f"{roots['train']}: expected a folder per class, two at least; found {contents(roots['train'])}"
        )
    paths = {
        split: [(path, label) for label, name in enumerate(names) for path in found[name]]
        for split, found in classes.items()
    }
    if "test" in paths:
        wanted.no_share()
        splits = paths
    else:
        mask = drawn_for_test(np.array([label for _, label in paths["train"]]), wanted.share(), wanted.random)
        splits = {split: _where(paths["train"], mask == (split == "test")) for split in ("train", "test")}
    endings = sorted({path.suffix.lower().lstrip(".") for found in paths.values() for path, _ in found})
    source = f"image folder {wanted.name} ({', '.join(endings)})"
    if "test" in roots and roots["test"].name.lower() != "test":
        source += f", {roots['test'].name}/ as the test split"
    rows = {split: _rows(found) for split, found in splits.items()}
    return Raw(str(wanted.path), wanted.name, tuple(names), source, rows)


def _roots(path: Path) -> dict[str, Path]:
    """The folders that hold the classes' folders."""
    if not path.is_dir():
        raise PipelineError(f"{path}: expected a folder with a folder per class, found none")
    named = {folder.name.lower(): folder for folder in path.iterdir() if folder.is_dir()}
    train, test = (next((named[name] for name in names if name in named), None) for names in (TRAIN_NAMES, TEST_NAMES))
    if not train:
        return {"train": path}
    return {"train": train} | ({"test": test} if test else {})


def _classes(root: Path) -> dict[str, list[Path]]:
    found = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            found[folder.name] = _images(folder)
            if not found[folder.name]:
                raise PipelineError(
                    f"{folder}: expected images ({', '.join(sorted(ENDINGS))}), found {contents(folder)}"
                )
    return found


def _images(folder: Path) -> list[Path]:
    return beneath(folder, lambda name: os.path.splitext(name)[1].lower() in ENDINGS)


def _where(paths: list[tuple[Path, int]], mask: NDArray[np.bool_]) -> list[tuple[Path, int]]:
    return [entry for entry, wanted in zip(paths, mask, strict=True) if wanted]


def _rows(paths: list[tuple[Path, int]]) -> Rows:
    def read() -> Iterator[Row]:
        from pipeline.artifacts.raw.decoding import decode  # Pillow: the stage that always runs only lists files

        for path, label in paths:
            yield Row(decode(path, str(path)), label, "", str(path))

    return Rows(len(paths), read, np.array([label for _, label in paths]))
