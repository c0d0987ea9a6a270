"""`data/images/<study>.h5`: the images of a study, split into train and test."""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.files import replacing
from pipeline.artifacts.storage import reading, write_attributes
from pipeline.errors import PipelineError

SCHEMA, VERSION = "images", 1
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Split:
    """Images uint8 (n, c, h, w) and labels uint8 (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Description:
    """What a file says of itself: where the images came from and the checksum of that source."""

    dataset: str
    class_names: tuple[str, ...]
    source: str
    source_checksum: str


def write_images(path: Path, description: Description, splits: dict[str, Split]) -> None:
    """Write both splits; the file appears only when it is whole.

    Raises PipelineError if a label has no class name or images and labels differ in number.
    """
    for name in SPLITS:
        images, labels = splits[name].images, splits[name].labels
        if images.ndim != 4 or len(images) != len(labels) or not len(labels):
            raise PipelineError(f"{name}: expected as many images as labels, found {images.shape} and {labels.shape}")
        if labels.max() >= len(description.class_names):
            raise PipelineError(f"{name}: label {labels.max()} has no name among {description.class_names}")
    with replacing(path) as part, h5py.File(part, "w") as file:
        write_attributes(
            file,
            {
                "schema": SCHEMA,
                "schema_version": VERSION,
                "dataset": description.dataset,
                "class_names": json.dumps(description.class_names),
                "source": description.source,
                "source_checksum": description.source_checksum,
            },
        )
        for name in SPLITS:
            file.create_dataset(f"{name}/images", data=splits[name].images)
            file.create_dataset(f"{name}/labels", data=splits[name].labels)


def read_description(path: Path) -> Description:
    """The file's description, without its images."""
    with _open(path) as file:
        return _description(file)


def read_shape(path: Path) -> tuple[int, int, int]:
    """Channels, height and width of the images."""
    with _open(path) as file:
        channels, height, width = file["train/images"].shape[1:]
        return channels, height, width


def read_split(path: Path, split: str) -> Split:
    """All images and labels of "train" or "test"."""
    with _open(path) as file:
        return Split(file[f"{split}/images"][:], file[f"{split}/labels"][:])


def _open(path: Path):  # type: ignore[no-untyped-def]
    datasets = {f"{split}/{name}": "uint8" for split in SPLITS for name in ("images", "labels")}
    return reading(path, SCHEMA, VERSION, datasets, tuple(Description.__dataclass_fields__))


def _description(file: h5py.File) -> Description:
    return Description(
        dataset=file.attrs["dataset"],
        class_names=tuple(json.loads(file.attrs["class_names"])),
        source=file.attrs["source"],
        source_checksum=file.attrs["source_checksum"],
    )
