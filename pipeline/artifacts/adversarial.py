"""`data/adversarial/<study>/<attack>.h5`: a self-contained set of adversarial images."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.files import canonical_json, damaged, replacing
from pipeline.artifacts.storage import reading, write_attributes, writing
from pipeline.errors import PipelineError
from pipeline.pixels import unit_interval

SCHEMA, VERSION = "adversarial", 1
# Work runs in blocks of this many rows, whatever reads: 9 targets of 500 originals. Of images larger than CIFAR-10's in
# fewer, of as many values: whoever measures holds some twenty times a block.
BLOCK, VALUES = 4500, 3 * 32 * 32
DATASETS = {
    "images": "float32",
    "originals": "uint8",
    "original_row": "int32",
    "source_split": "uint8",
    "source_index": "int32",
    "labels": "uint8",
    "target_labels": "uint8",
    "is_adversarial": "bool",
    "steps": "int16",
    "margin": "float32",
}
SOURCE_SPLITS = ("train", "test")  # values 0 and 1 of `source_split`
TEST = SOURCE_SPLITS.index("test")


@dataclass(frozen=True)
class Sources:
    """The originals of a set, and which of them is attacked towards what; m originals, n rows.

    originals uint8 (m, c, h, w); source_split uint8 (m,); source_index int32 (m,);
    original_row int32 (n,); labels and target_labels uint8 (n,).
    """

    originals: NDArray[np.uint8]
    source_split: NDArray[np.uint8]
    source_index: NDArray[np.int32]
    original_row: NDArray[np.int32]
    labels: NDArray[np.uint8]
    target_labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if (self.labels == self.target_labels).any():
            raise ValueError("a target label equals the original's label")


@dataclass(frozen=True)
class Identity:
    """What a set says of itself."""

    dataset: str
    attack: str
    params: dict[str, Any]
    class_names: tuple[str, ...]
    seed: int


class AdversarialSet:
    """A set open for reading: what is small in memory, the images by block of rows.

    Attributes: `identity`, `sources`, `is_adversarial` bool (n,), `steps` int16 (n,), `margin`
    float32 (n,).
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        attributes = file.attrs
        self.identity = Identity(
            dataset=attributes["dataset"],
            attack=attributes["attack"],
            params=json.loads(attributes["params"]),
            class_names=tuple(json.loads(attributes["class_names"])),
            seed=int(attributes["seed"]),
        )
        self.sources = Sources(**{name: file[name][:] for name in Sources.__dataclass_fields__})
        self.is_adversarial: NDArray[np.bool_] = file["is_adversarial"][:]
        self.steps: NDArray[np.int16] = file["steps"][:]
        self.margin: NDArray[np.float32] = file["margin"][:]

    def __len__(self) -> int:
        return len(self.is_adversarial)

    def fooled_rows(self, split: str, wanted: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows of the images that fool, and whose original is of this split; of it a `wanted` one, bool, one an image.

        Raises PipelineError if the images file that `wanted` is of has not got these originals.
        """
        sources = self.sources
        usable = sources.source_split == SOURCE_SPLITS.index(split)
        if wanted is not None:
            index = sources.source_index[usable]
            if len(index) and index.max() >= len(wanted):
                raise PipelineError(
                    f"{self._file.filename}: its originals are not of this images file: expected at most "
                    f"{len(wanted)} images in the {split} split, found a number {index.max()}"
                )
            usable[usable] = wanted[index]
        return np.flatnonzero(self.is_adversarial & usable[sources.original_row])

    def images(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Adversarial images in [0, 1], float32 (len, c, h, w); an index array must be sorted."""
        images: NDArray[np.float32] = self._file["images"][rows]
        return images

    def images_of(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """Images of sorted rows, some at a time: of whole blocks, for HDF5 reads scattered rows one by one."""
        for block in self.blocks():
            chosen = rows[(rows >= block.start) & (rows < block.stop)] - block.start
            if len(chosen):
                yield self.images(block)[chosen]

    def originals(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """The original image of each row in [0, 1], float32 (len, c, h, w)."""
        chosen = self.sources.originals[self.sources.original_row[rows]]
        return unit_interval(chosen)

    def blocks(self) -> Iterator[slice]:
        """Consecutive slices of BLOCK rows; of fewer, where images are large."""
        return blocks_of(len(self), self.sources.originals.shape[1:])


def blocks_of(count: int, shape: Sequence[int]) -> Iterator[slice]:
    """Consecutive slices of `count` rows of images of a shape: of BLOCK rows, or of as much memory of large ones."""
    size = max(1, min(BLOCK, BLOCK * VALUES // math.prod(shape)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


@contextmanager
def open_adversarial(path: Path | str) -> Iterator[AdversarialSet]:
    """Open a set; PipelineError if it is missing, no HDF5, or not of this schema and version."""
    with reading(Path(path), SCHEMA, VERSION, DATASETS, tuple(Identity.__dataclass_fields__)) as file:
        for name in ("images", "original_row", "labels", "target_labels", "steps", "margin"):
            expected = len(file["is_adversarial"])
            if len(file[name]) != expected:
                raise damaged(path, f"dataset '{name}': expected {expected} rows, found {len(file[name])}")
        yield AdversarialSet(file)


def write_adversarial(
    path: Path,
    identity: Identity,
    sources: Sources,
    blocks: Iterable[tuple[slice, NDArray[np.float32], NDArray[np.int16]]],
    measure_margins: Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.float32]],
) -> None:
    """Stream (rows, images, steps) to a new set, then measure the margins on the images read back.

    `measure_margins` takes stored images and target labels. Memory stays that of one block. The file
    appears only when it is whole.
    """
    count = len(sources.labels)
    with replacing(path) as part:
        with writing(part) as file:
            write_attributes(
                file,
                {
                    "schema": SCHEMA,
                    "schema_version": VERSION,
                    "dataset": identity.dataset,
                    "attack": identity.attack,
                    "params": canonical_json(identity.params),
                    "class_names": json.dumps(identity.class_names),
                    "seed": identity.seed,
                },
            )
            for name in Sources.__dataclass_fields__:
                file.create_dataset(name, data=getattr(sources, name))
            # Contiguous and uncompressed: perturbations hardly compress, and rows are read at random.
            file.create_dataset("images", (count, *sources.originals.shape[1:]), "float32")
            for name in ("is_adversarial", "steps", "margin"):
                file.create_dataset(name, (count,), DATASETS[name])
            for rows, images, steps in blocks:
                file["images"][rows] = images
                file["steps"][rows] = steps
        with writing(part, "r+") as file:
            for rows in blocks_of(count, sources.originals.shape[1:]):
                margin = measure_margins(file["images"][rows], sources.target_labels[rows])
                file["margin"][rows] = margin
                file["is_adversarial"][rows] = margin > 0
