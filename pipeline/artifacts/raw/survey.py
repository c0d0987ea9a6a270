"""What a new study has to know of its images: one look at each of them."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.artifacts.raw import sources
from pipeline.artifacts.raw.rows import check_label
from pipeline.artifacts.raw.wanted import Images, MissingShare, base
from pipeline.errors import PipelineError
from pipeline.progress import each
from pipeline.studies import FORMATS

SHARE = 0.2  # of a test split, of images that come without one


@dataclass(frozen=True)
class Survey:
    """Images as they come.

    images : the study's block, with a `test_share` where they need one.
    counts : by split, images of each class. sizes, channels : how many images are of which.
    """

    images: Images
    class_names: tuple[str, ...]
    counts: dict[str, list[int]]
    sizes: Counter[tuple[int, int]]
    channels: Counter[int]


def look(images: Images, name: str, where: str) -> Survey:
    """Read all images once. Raises PipelineError as their reader does."""
    try:
        raw = sources.read(sources.wanted(images, name, where))
    except MissingShare:
        images = replace(images, test_share=SHARE)
        raw = sources.read(sources.wanted(images, name, where))
    counts, sizes, channels = {}, Counter[tuple[int, int]](), Counter[int]()
    for split, rows in raw.splits.items():
        found = np.zeros(len(raw.class_names), np.int64)
        for row in each(rows.read(), f"looking at the {split} images", "images", rows.count):
            check_label(row, len(found))
            found[row.label] += 1
            sizes[row.image.shape[0], row.image.shape[1]] += 1
            channels[3 if row.image.ndim == 3 else 1] += 1
        counts[split] = found.tolist()
    return Survey(images, raw.class_names, counts, sizes, channels)


def located(text: str, name: str) -> tuple[str, Path | None]:
    """`images.source` of what a person names, and the link to be made so that it lies among the raw files, if one is.

    text : a source, or a path alone, from here or from the folder of all raw files; what lies there says its layout.
    name : of the link.

    Raises PipelineError if there is nothing.
    """
    kind, _, what = text.partition(":")
    if kind in sources.SOURCES and kind not in FORMATS:
        return text, None
    path = Path(what) if kind in FORMATS else Path(text)
    found = next((place for place in (base() / path, path) if place.exists()), None)
    if found is None:
        raise PipelineError(f"IMAGES: expected a source, or a path here or in {base()}; found {text!r}")
    kind = kind if kind in FORMATS else _layout(found)
    inside, root = Path(os.path.abspath(found)), Path(os.path.abspath(base()))
    if inside.is_relative_to(root) and inside != root:
        return f"{kind}:{inside.relative_to(root).as_posix()}", None
    return f"{kind}:{name}{found.suffix if found.is_file() else ''}", found.resolve()


def link(source: str, target: Path) -> Path | None:
    """Make what `located` says; the link, None if it is there. Raises PipelineError if something else is there."""
    place = base() / source.partition(":")[2]
    if place.is_symlink() and place.resolve() == target:
        return None
    if place.exists() or place.is_symlink():
        raise PipelineError(f"{place}: expected nothing there, to link it to {target}; found something else")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def _layout(path: Path) -> str:
    if path.is_file():
        return "npz"
    if any(path.rglob("*.parquet")):
        return "parquet"
    return "idx" if any(path.rglob("train-images*idx3-ubyte*")) else "folder"
