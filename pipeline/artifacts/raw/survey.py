"""What a new study has to know of its images: one look at each of them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.artifacts.images import SPLITS, Split
from pipeline.artifacts.raw import sources
from pipeline.artifacts.raw.checks import Checked, fitted
from pipeline.artifacts.raw.rows import Row, check_label
from pipeline.artifacts.raw.wanted import Images, MissingShare, base
from pipeline.errors import PipelineError
from pipeline.metrics.splits import validation_mask
from pipeline.progress import each
from pipeline.randomness import derive_seed
from pipeline.study_blocks import FORMATS

SHARE = 0.2  # of a test split, of images that come without one
# Of the validation images that are kept to be shown to a classifier: how many, and how many bytes, unless they are few.
MOST, BYTES, FEW = 500, 2**27, 20


@dataclass(frozen=True)
class Survey:
    """Images as they come.

    where : their file or folder. images : the study's block, with a `test_share` where they need one.
    counts : by split, images of each class. sizes, channels : how many images are of which.
    in_both : test images that are training images too.
    kept : validation images, if they were asked for.
    """

    where: str
    images: Images
    class_names: tuple[str, ...]
    counts: dict[str, list[int]]
    sizes: Counter[tuple[int, int]]
    channels: Counter[int]
    in_both: int
    kept: list[Row]

    def validation(self, images: Images) -> Split:
        """What was kept, resized and converted as `images` says."""
        pixels = [fitted(row.image, images).transpose(2, 0, 1) for row in self.kept]
        return Split(np.stack(pixels), np.array([row.label for row in self.kept], np.uint8))


def look(images: Images, name: str, where: str, seed: int, keep: bool = False) -> Survey:
    """Read all images once, split as the study's stages will split them.

    name : of the study's images; seed : the study's; by these are all random numbers.
    keep : some of the validation images, at random.

    Raises PipelineError as their reader and `Checked` do, but not for images of several sizes or channels.
    """
    _check_names(sources.files(sources.wanted(images, name, where, seed)))
    try:
        raw = sources.read(sources.wanted(images, name, where, seed))
    except MissingShare:
        images = replace(images, test_share=SHARE)
        raw = sources.read(sources.wanted(images, name, where, seed))
    counts, sizes, channels = {}, Counter[tuple[int, int]](), Counter[int]()
    checked = Checked(raw, images, where, derive_seed(seed, name, "order"))
    twice = checked.twice
    kept = _Kept(_held_out(checked, name, seed) if keep else {})
    for split in SPLITS:
        rows = raw.splits[split]
        found = np.zeros(len(raw.class_names), np.int64)
        shown = each(rows.read(), f"looking at the {split} images", "images", rows.count)
        for number, (row, _) in enumerate(twice.rows(split, shown)):
            check_label(row, len(found))
            found[row.label] += 1
            sizes[row.image.shape[0], row.image.shape[1]] += 1
            channels[3 if row.image.ndim == 3 else 1] += 1
            if split == "train":
                kept.see(number, row)
        counts[split] = found.tolist()
    rows_kept = list(kept.rows.values())
    return Survey(raw.where, images, raw.class_names, counts, sizes, channels, twice.in_both, rows_kept)


def _check_names(paths: Sequence[Path]) -> None:
    """Raise PipelineError if a name is none in UTF-8: no checksum could be taken of it, and no stored file hold it."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise PipelineError(f"{str(path)!a}: expected a name in UTF-8, found other bytes: rename it") from None


class _Kept:
    """Rows of some numbers, those of the lowest ranks that memory is for."""

    def __init__(self, ranks: Mapping[int, int]) -> None:
        self.ranks, self.rows, self.bytes = ranks, dict[int, Row](), 0

    def see(self, number: int, row: Row) -> None:
        if number not in self.ranks:
            return
        self.rows[self.ranks[number]] = row
        self.bytes += row.image.nbytes
        while self.bytes > BYTES and len(self.rows) > FEW:
            self.bytes -= self.rows.pop(max(self.rows)).image.nbytes


def _held_out(checked: Checked, name: str, seed: int) -> dict[int, int]:
    """Numbers of the rows that later stages hold out, with ranks at random; of any, if no label is known before."""
    rows = checked.raw.splits["train"]
    numbers = np.arange(rows.count)
    if rows.labels is not None:
        order = checked.order(rows)
        places = numbers if order is None else order  # in the file of images
        stored = np.empty_like(rows.labels)
        stored[places] = rows.labels
        numbers = np.flatnonzero(validation_mask(stored, seed, name)[places])
    chosen = np.random.default_rng(derive_seed(seed, name, "a look")).permutation(numbers)[:MOST]
    return {int(number): rank for rank, number in enumerate(chosen)}


def located(text: str, name: str) -> tuple[str, Path | None]:
    """`images.source` of what a person names, and what a link is to lead to so that it lies among the raw files.

    text : a source, or a path alone, from here or from the folder of all raw files; what lies there says its layout.
    name : of the link, if there is none that leads there.

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
    if known := [link for link in sorted(root.glob("*")) if link.is_symlink() and link.resolve() == found.resolve()]:
        return f"{kind}:{known[0].name}", found.resolve()  # by one name two studies have the same originals
    return f"{kind}:{name}{found.suffix if found.is_file() else ''}", found.resolve()


def linked(source: str) -> Path:
    """Where the link of a source of one's own files is."""
    return base() / source.partition(":")[2]


def link(source: str, target: Path) -> Path | None:
    """Make what `located` says; the link, None if it is there. Raises PipelineError if something else is there."""
    place = linked(source)
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
