"""`data/images/<study>.h5`: the images of a study, split into train and test."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.files import replacing
from pipeline.artifacts.storage import reading, write_attributes, writing
from pipeline.errors import PipelineError

SCHEMA, VERSION = "images", 1
SPLITS = ("train", "test")
BLOCK = 2**21  # bytes of a stream that are held at once


@dataclass(frozen=True)
class Split:
    """Images uint8 (n, c, h, w) and labels uint8 (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Stream:
    """A split that need not be in memory at once: `count` rows of an image uint8 (c, h, w) and its label.

    order : the place of each row in the file; None: as they come.
    """

    count: int
    rows: Iterator[tuple[NDArray[np.uint8], int]]
    order: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Description:
    """What a file says of itself: where the images came from, the checksum of that source, and what stands in it twice.

    repeated_train_images : training images that are the same as one before them.
    test_images_in_train : test images that are training images too.
    """

    dataset: str
    class_names: tuple[str, ...]
    source: str
    source_checksum: str
    repeated_train_images: int = 0
    test_images_in_train: int = 0


def write_images(
    path: Path, description: Description | Callable[[], Description], splits: Mapping[str, Split | Stream]
) -> None:
    """Write both splits, train first; the file appears only when it is whole.

    description : or what gives it once all rows were taken.

    Raises PipelineError if a label has no class name or images and labels differ in number.
    """
    with replacing(path) as part, writing(part) as file:
        labels = {name: _write_split(file.create_group(name), name, splits[name]) for name in SPLITS}
        about = description() if callable(description) else description
        for name in SPLITS:
            if labels[name].max() >= len(about.class_names):
                raise PipelineError(f"{name}: label {labels[name].max()} has no name among {about.class_names}")
        attributes = {**asdict(about), "class_names": json.dumps(about.class_names)}
        write_attributes(file, {"schema": SCHEMA, "schema_version": VERSION, **attributes})


def _write_split(group: h5py.Group, name: str, split: Split | Stream) -> NDArray[np.uint8]:
    """Write a split; its labels."""
    if isinstance(split, Split):
        images, labels = split.images, split.labels
        if images.ndim != 4 or len(images) != len(labels) or not len(labels):
            raise PipelineError(f"{name}: expected as many images as labels, found {images.shape} and {labels.shape}")
        group.create_dataset("images", data=images)
    else:
        labels = np.zeros(split.count, np.uint8)
        end, at_once = 0, 1
        while block := list(islice(split.rows, at_once)):
            pixels = np.stack([image for image, _ in block])
            if not end:
                group.create_dataset("images", (split.count, *pixels.shape[1:]), np.uint8)
                at_once = max(1, BLOCK // pixels.nbytes)
            places = np.arange(end, end + len(block))
            if split.order is None:
                group["images"][end : end + len(block)] = pixels
            else:
                places = split.order[places]
                for place, image in zip(places, pixels, strict=True):
                    group["images"][place] = image
            labels[places] = [label for _, label in block]
            end += len(block)
        if not end or end != split.count:
            raise PipelineError(f"{name}: expected {split.count or 'some'} images, found {end}")
    group.create_dataset("labels", data=labels)
    return labels


def read_description(path: Path) -> Description:
    """The file's description, without its images."""
    with _open(path) as file:
        return _description(file)


def read_summary(path: Path) -> dict[str, Any]:
    """What is in the file: shape, classes, by split how many images and how many of the rarest and commonest class."""
    with _open(path) as file:
        about = _description(file)
        labels = {split: file[f"{split}/labels"][:] for split in SPLITS}
        counts = {split: np.bincount(found, minlength=len(about.class_names)) for split, found in labels.items()}
        return {
            "shape": [int(side) for side in file["train/images"].shape[1:]],
            "classes": len(about.class_names),
            **{
                split: {"images": int(found.sum()), "rarest": int(found.min()), "commonest": int(found.max())}
                for split, found in counts.items()
            },
            "repeated_train_images": about.repeated_train_images,
            "test_images_in_train": about.test_images_in_train,
        }


def read_shape(path: Path) -> tuple[int, int, int]:
    """Channels, height and width of the images."""
    with _open(path) as file:
        channels, height, width = file["train/images"].shape[1:]
        return channels, height, width


def read_split(path: Path, split: str) -> Split:
    """All images and labels of "train" or "test"."""
    with _open(path) as file:
        return Split(file[f"{split}/images"][:], file[f"{split}/labels"][:])


def same_test_split(one: Path, other: Path) -> bool:
    """Whether two files have the same test images in the same order, with the same labels and names of classes."""
    if read_description(one).class_names != read_description(other).class_names:
        return False
    mine, its = (read_split(path, "test") for path in (one, other))
    return np.array_equal(mine.labels, its.labels) and np.array_equal(mine.images, its.images)


def _open(path: Path):  # type: ignore[no-untyped-def]
    datasets = {f"{split}/{name}": "uint8" for split in SPLITS for name in ("images", "labels")}
    return reading(path, SCHEMA, VERSION, datasets, tuple(Description.__dataclass_fields__))


def _description(file: h5py.File) -> Description:
    return Description(
        dataset=file.attrs["dataset"],
        class_names=tuple(json.loads(file.attrs["class_names"])),
        source=file.attrs["source"],
        source_checksum=file.attrs["source_checksum"],
        repeated_train_images=int(file.attrs["repeated_train_images"]),
        test_images_in_train=int(file.attrs["test_images_in_train"]),
    )
