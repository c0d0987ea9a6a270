"""MNIST's layout: four idx files, plain or .gz, of MNIST itself or of other gray images of any size."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.raw.rows import Raw, numbered, rows_of, sha256
from pipeline.artifacts.raw.torchvision_sets import KNOWN
from pipeline.artifacts.raw.wanted import Wanted, contents
from pipeline.errors import PipelineError

FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
# MD5 of the uncompressed files, as published with MNIST; torchvision checks the .gz files' own.
MNIST_MD5 = {
    ("train", "images"): "6bbc9ace898e44ae57da46a324031adb",
    ("train", "labels"): "a25bea736e30d166cdddb491f175f624",
    ("test", "images"): "2646ac647ad5339dbf082846283269ea",
    ("test", "labels"): "27ae3e4e09519cfbb04c329615203637",
}


def files(wanted: Wanted) -> list[Path]:
    """Those of the four that are there."""
    return [path for name in FILES.values() if (path := _find(wanted.path, name)) is not None]


def read(wanted: Wanted) -> Raw:
    """The images of the four files; of `mnist` by their MD5 the published ones.

    Raises PipelineError if a file is missing, cut off or of another header.
    """
    wanted.no_share()
    published = wanted.kind != "idx"
    bytes_, values = {}, {}
    for key, name in FILES.items():
        path = _find(wanted.path, name)
        if path is None:
            raise PipelineError(f"{wanted.path}: expected {name} or {name}.gz, found {contents(wanted.path)}")
        content = _content(path)
        if published:
            _check_published(path, content, MNIST_MD5[key])
        values[key] = _values(path, content, 3 if key[1] == "images" else 1)
        bytes_[key] = content if published else values[key].tobytes()
    labels = {split: values[split, "labels"] for split in ("train", "test")}
    for split in labels:
        if len(labels[split]) != len(values[split, "images"]) or not len(labels[split]):
            found = f"{len(values[split, 'images'])} images and {len(labels[split])} labels"
            raise PipelineError(f"{wanted.path}: expected as many images as labels in {split}, found {found}")
    given = wanted.images.class_names
    _, names = numbered([*labels["train"].tolist(), *labels["test"].tolist()], given, str(wanted.path))
    return Raw(
        where=str(wanted.path),
        dataset=wanted.name,
        class_names=names,
        source="MNIST idx files" if published else f"idx files of {wanted.name}",
        splits={split: rows_of(values[split, "images"], labels[split], f"{wanted.path}: {split}") for split in labels},
        checksum=sha256(*bytes_.values()),
        known=KNOWN["MNIST"] if published else None,
    )


def _find(folder: Path, name: str) -> Path | None:
    """The file, plain before .gz, in `folder` or where torchvision keeps it."""
    places = [folder, folder / "MNIST" / "raw", folder / "raw"]
    names = (name, name.replace("-idx", ".idx"))  # many copies have a dot there
    found = (place / (each + ending) for ending in ("", ".gz") for place in places for each in names)
    return next((path for path in found if path.is_file()), None)


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path}: cannot be read: {error}") from None


def _check_published(path: Path, content: bytes, md5: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise PipelineError(
            f"{path}: truncated or not MNIST's: expected MD5 {md5}, found {found} (another data set of this layout is "
            "`images.source: idx`)"
        )


def _values(path: Path, content: bytes, dimensions: int) -> NDArray[np.uint8]:
    """The values in their shape; PipelineError if the content is no idx file of bytes, or not as long as it says."""
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]):
        raise PipelineError(f"{path}: expected an idx file of bytes in {dimensions} dimensions, found another header")
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) - start != math.prod(shape):
        raise PipelineError(f"{path}: expected {math.prod(shape)} bytes of values, found {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
