"""NumPy's .npz: arrays of images and labels."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.raw.rows import Raw, Rows, drawn_for_test, numbered, rows_of
from pipeline.artifacts.raw.wanted import Wanted
from pipeline.errors import PipelineError

# What people call the arrays of a split.
IMAGES = ("{split}_images", "x_{split}", "X_{split}", "images_{split}")
LABELS = ("{split}_labels", "y_{split}", "Y_{split}", "labels_{split}")
# And where there is but one split.
ALONE = {"images": ("images", "x", "X", "data"), "labels": ("labels", "y", "Y", "targets")}


def files(wanted: Wanted) -> list[Path]:
    """The one file."""
    return [wanted.path] if wanted.path.is_file() else []


def read(wanted: Wanted) -> Raw:
    """Images uint8 (n, h, w), (n, h, w, c) or (n, c, h, w), c of 1 or 3, and labels (n,), numbers or texts.

    Raises PipelineError if the arrays can't be told, are of other types or shapes, or are Python objects.
    """
    with opened(wanted.path) as file:
        return _read(file, wanted)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Its arrays by name. Raises PipelineError, in the block too, if they can't be read or are Python objects."""
    try:
        with open(path, "rb") as content:
            found = np.load(content, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise PipelineError(f"{path}: expected an .npz of arrays, found a single array")
            with found as file:
                yield file
    except ValueError as error:
        # What begins like no file of NumPy's is taken for a pickle.
        pickled = "pickle" in str(error).lower()
        reason = "Python objects, or another kind of file" if pickled else " ".join(str(error).split())
        raise PipelineError(f"{path}: expected an .npz of plain arrays, found {reason}") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise PipelineError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _read(file: Any, wanted: Wanted) -> Raw:
    keys = {split: _keys(file, split) for split in ("train", "test")}
    alone = keys["train"] is None
    if alone:
        keys = {"train": _pair(file, ALONE["images"], ALONE["labels"])}
        if keys["train"] is None:
            raise PipelineError(
                f"{wanted.path}: expected arrays train_images, train_labels, test_images, test_labels (or x_train, "
                f"...; or images and labels alone), found {', '.join(file.files) or 'none'}"
            )
    elif keys["test"] is None:
        raise PipelineError(f"{wanted.path}: expected arrays of the test split too, found {', '.join(file.files)}")
    labels = {split: _labels(file[pair[1]], wanted.path, pair[1]) for split, pair in keys.items() if pair}
    given = wanted.images.class_names
    if given is None and "class_names" in file.files:
        given = tuple(str(name) for name in file["class_names"])
    numbers, names = numbered([label for found in labels.values() for label in found], given, str(wanted.path))
    images = {split: _images(file[pair[0]], wanted.path, pair[0]) for split, pair in keys.items() if pair}
    splits: dict[str, Rows] = {}
    start = 0
    for split, found in labels.items():
        if len(images[split]) != len(found):
            counts = f"{len(images[split])} and {len(found)}"
            raise PipelineError(f"{wanted.path}: expected as many images as labels in {split}, found {counts}")
        mine = np.array(numbers[start : start + len(found)])
        start += len(found)
        if alone:
            test = drawn_for_test(mine, wanted.share(), wanted.random)
            for name, rows in (("train", ~test), ("test", test)):
                splits[name] = rows_of(images[split], mine, str(wanted.path), rows)
        else:
            splits[split] = rows_of(images[split], mine, f"{wanted.path}: {split}")
    if not alone:
        wanted.no_share()
    return Raw(str(wanted.path), wanted.name, names, f"arrays of {wanted.path.name}", splits)


def _keys(file: Any, split: str) -> tuple[str, str] | None:
    images = [name.format(split=split) for name in IMAGES]
    return _pair(file, images, [name.format(split=split) for name in LABELS])


def _pair(file: Any, images: Sequence[str], labels: Sequence[str]) -> tuple[str, str] | None:
    image = next((name for name in images if name in file.files), None)
    label = next((name for name in labels if name in file.files), None)
    return (image, label) if image and label else None


def _labels(labels: NDArray[Any], path: Path, name: str) -> list[Any]:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise PipelineError(
            f"{path}: {name}: expected labels (n,), whole numbers or texts; found {labels.dtype} {labels.shape}"
        )
    found: list[Any] = (labels.astype(str) if labels.dtype.kind in "US" else labels).tolist()
    return found


def _images(images: NDArray[Any], path: Path, name: str) -> NDArray[np.uint8]:
    """(n, h, w) or (n, h, w, 3)."""
    if images.dtype != np.uint8:
        raise PipelineError(f"{path}: {name}: expected uint8, values 0 to 255; found {images.dtype}")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim != 3 and (images.ndim != 4 or images.shape[3] != 3):
        raise PipelineError(
            f"{path}: {name}: expected images (n, h, w), (n, h, w, c) or (n, c, h, w) of 1 or 3 channels, found "
            f"{images.shape}"
        )
    return images
