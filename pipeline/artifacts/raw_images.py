"""The raw files of each dataset, as they come: scikit-learn's digits, idx, Parquet, torchvision."""

import gzip
import hashlib
import io
import json
import math
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.artifacts.images import Description, Split
from pipeline.errors import PipelineError

RawImages = tuple[Description, dict[str, Split]]

# MD5 of the uncompressed files, as published with MNIST; torchvision checks the .gz files' own.
MNIST_FILES = {
    ("train", "images"): ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    ("train", "labels"): ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    ("test", "images"): ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    ("test", "labels"): ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
}
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def read_digits(test_share: float, random: np.random.Generator) -> RawImages:
    """scikit-learn's 1,797 handwritten digits (UCI), 8x8, values 0 to 16 spread over 0 to 255.

    They come without a split: `test_share` of each class, drawn by `random`, is the test split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.uint8)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        rows = random.permutation(np.flatnonzero(labels == label))
        test[rows[: round(len(rows) * test_share)]] = True
    description = Description(
        dataset="digits",
        class_names=tuple(map(str, range(10))),
        source="scikit-learn's bundled digits (UCI), 8x8",
        source_checksum=_sha256(images.tobytes(), labels.tobytes()),
    )
    splits = {"train": Split(images[~test], labels[~test]), "test": Split(images[test], labels[test])}
    return description, splits


def read_mnist(folder: Path) -> RawImages:
    """MNIST from the four idx files under `folder`, plain or .gz, downloaded there if they are missing."""
    paths = {key: _find(folder, name) for key, (name, _) in MNIST_FILES.items()}
    source = "MNIST idx files"
    if not any(paths.values()):
        _download(folder, "mnist", lambda root: _torchvision("MNIST", root))
        paths = {key: _find(folder, name) for key, (name, _) in MNIST_FILES.items()}
        source = "MNIST, downloaded by torchvision"
    contents = {}
    for key, (name, md5) in MNIST_FILES.items():
        path = paths[key]
        if path is None:
            raise PipelineError(f"{folder}: expected MNIST's four idx files, found no {name} or {name}.gz")
        contents[key] = _checked(path, md5)
    splits = {
        split: Split(
            np.frombuffer(contents[split, "images"], np.uint8, offset=16).reshape(-1, 1, 28, 28),
            np.frombuffer(contents[split, "labels"], np.uint8, offset=8),
        )
        for split in ("train", "test")
    }
    names = tuple(map(str, range(10)))
    return Description("mnist", names, source, _sha256(*contents.values())), splits


def read_idx(folder: Path, name: str, class_names: tuple[str, ...] | None) -> RawImages:
    """Any images in MNIST's layout: its four idx files under `folder`, plain or .gz, gray and of any size.

    class_names : in the order of the labels; if None, the labels themselves.
    """
    contents = {}
    for key, (file, _) in MNIST_FILES.items():
        path = _find(folder, file)
        if path is None:
            present = ", ".join(sorted(found.name for found in folder.glob("*"))) or "nothing"
            raise PipelineError(f"{folder}: expected {file} or {file}.gz, found {present}")
        contents[key] = _idx_values(path, 3 if key[1] == "images" else 1)
    labels = [contents[split, "labels"] for split in ("train", "test")]
    if not all(len(found) for found in labels):
        raise PipelineError(f"{folder}: expected labels in both splits, found none in one")
    names = class_names or tuple(map(str, range(1 + max(int(found.max()) for found in labels))))
    splits = {
        split: Split(contents[split, "images"][:, None], contents[split, "labels"]) for split in ("train", "test")
    }
    checksum = _sha256(*(content.tobytes() for content in contents.values()))
    return Description(name, names, f"idx files of {name}", checksum), splits


def _idx_values(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes of an idx file in its shape; PipelineError if it is none, or not as long as it says."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path}: cannot be read: {error}") from None
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]):
        raise PipelineError(f"{path}: expected an idx file of bytes in {dimensions} dimensions, found another header")
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) - start != math.prod(shape):
        raise PipelineError(f"{path}: expected {math.prod(shape)} bytes of values, found {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_cifar10(folder: Path) -> RawImages:
    """CIFAR-10 from Parquet shards under `folder`, or torchvision's files, downloaded if missing.

    Parquet: `train*.parquet` and `test*.parquet` with a struct column `img` or `image` of encoded
    bytes, an integer column `label`, and class names in the schema's "huggingface" metadata.
    """
    # By file name, or by folder, as in the branch of a converted data set: plain_text/train/0000.parquet.
    shards = {
        split: sorted({*folder.rglob(f"{split}*.parquet"), *folder.rglob(f"{split}/*.parquet")})
        for split in ("train", "test")
    }
    if any(shards.values()):
        return _read_parquet(folder, shards)
    source = "CIFAR-10 python files, MD5-checked by torchvision"
    if not (folder / "cifar-10-batches-py").is_dir():
        _download(folder, "cifar10", lambda root: _torchvision("CIFAR10", root))
        source = "CIFAR-10, downloaded by torchvision"
    splits = {}
    for split in ("train", "test"):
        try:
            # torchvision compares each file's MD5 with the published one before it unpickles any.
            data = _torchvision_dataset("CIFAR10", folder, split == "train")
        except RuntimeError as error:
            raise PipelineError(f"{folder / 'cifar-10-batches-py'}: {error}") from None
        images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
        splits[split] = Split(images, np.array(data.targets, np.uint8))
    checksum = _sha256(*(splits[s].images.tobytes() + splits[s].labels.tobytes() for s in ("train", "test")))
    return Description("cifar10", CIFAR10_CLASSES, source, checksum), splits


def _read_parquet(folder: Path, shards: dict[str, list[Path]]) -> RawImages:
    names: tuple[str, ...] = CIFAR10_CLASSES
    splits, encodings, digest = {}, set(), hashlib.sha256()
    for split, paths in shards.items():
        if not paths:
            raise PipelineError(f"{folder}: expected {split}*.parquet, found none")
        images: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        _check_complete(folder, split, paths)
        for path in paths:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
            table = _parquet_table(path)
            names = _class_names(table.schema) or names
            column = next(name for name in ("img", "image") if name in table.column_names)
            for cell, label in zip(table[column].to_pylist(), table["label"].to_pylist(), strict=True):
                image, encoding = _decode(cell, path, len(images))
                if not isinstance(label, int) or not 0 <= label < len(names):
                    raise PipelineError(
                        f"{path}: row {len(images)}: expected a label below {len(names)}, found {label}"
                    )
                images.append(image)
                labels.append(label)
                encodings.add(encoding)
        splits[split] = Split(np.stack(images).transpose(0, 3, 1, 2).copy(), np.array(labels, np.uint8))
    source = f"CIFAR-10 Parquet files ({', '.join(sorted(encodings))} encoded)"
    if "JPEG" in encodings:
        source += ": a lossy JPEG re-encoding of CIFAR-10, not the original pixels"
    return Description("cifar10", names, source, digest.hexdigest()), splits


def _parquet_table(path: Path) -> pyarrow.Table:
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise PipelineError(f"{path}: expected a Parquet file: {' '.join(str(error).split())}") from None
    columns = set(table.column_names)
    if not columns & {"img", "image"} or "label" not in columns:
        raise PipelineError(f"{path}: expected columns img (or image) and label, found {sorted(columns)}")
    return table


def _check_complete(folder: Path, split: str, paths: list[Path]) -> None:
    """Refuse some of the shards of a split, or two copies of one: `train-00000-of-00002.parquet` says how many."""
    for path in paths:
        named = re.match(rf"{split}-\d+-of-(\d+)(-\w+)?$", path.stem)
        if named and len(paths) != int(named[1]):
            raise PipelineError(
                f"{folder}: expected {int(named[1])} shards of {split}, found {len(paths)}: {path.name} ..."
            )
    seen: dict[str, Path] = {}
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in seen:
            raise PipelineError(f"{path}: expected other rows than those of {seen[digest].name}, found the same twice")
        seen[digest] = path


def _decode(cell: Any, path: Path, row: int) -> tuple[NDArray[np.uint8], str]:
    if not isinstance(cell, dict) or "bytes" not in cell:
        found = ", ".join(cell) if isinstance(cell, dict) else type(cell).__name__
        raise PipelineError(f"{path}: row {row}: expected an image cell with the field bytes, found {found}")
    content = cell["bytes"]
    if content is None:  # only a path: the file lies beside the shards
        beside = path.parent / str(cell.get("path"))
        if not beside.is_file():
            raise PipelineError(f"{path}: row {row}: expected bytes, or a file {beside}; found neither")
        content = beside.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels, encoding = np.asarray(image.convert("RGB")), image.format or "unknown"
    except (UnidentifiedImageError, OSError, TypeError):
        raise PipelineError(f"{path}: row {row}: expected an encoded image, found other bytes") from None
    if pixels.shape != (32, 32, 3):
        raise PipelineError(f"{path}: row {row}: expected a 32x32 RGB image, found shape {pixels.shape}")
    return pixels, encoding


def _class_names(schema: pyarrow.Schema) -> tuple[str, ...] | None:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(features["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _find(folder: Path, name: str) -> Path | None:
    """The file, plain before .gz, in `folder` or where torchvision keeps it."""
    places = [folder, folder / "MNIST" / "raw", folder / "raw"]
    names = (name, name.replace("-idx", ".idx"))  # many copies have a dot there
    files = (place / (each + ending) for ending in ("", ".gz") for place in places for each in names)
    return next((path for path in files if path.is_file()), None)


def _checked(path: Path, md5: str) -> bytes:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path}: cannot be read: {error}") from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise PipelineError(f"{path}: truncated or not MNIST's: expected MD5 {md5}, found {found}")
    return content


def _download(folder: Path, dataset: str, fetch: Callable[[Path], Any]) -> None:
    """Download into a temporary folder and move what came into `folder`: all of it or nothing."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            fetch(Path(temporary))
            for path in Path(temporary).iterdir():
                shutil.move(path, folder / path.name)
    except (OSError, RuntimeError) as error:
        if made and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        reason = " ".join(str(error).split())
        present = ", ".join(sorted(path.name for path in folder.glob("*"))[:8]) if folder.is_dir() else ""
        raise PipelineError(
            f"{dataset}: no raw files in {folder} (found: {present or 'nothing'}), and the download failed ({reason}). "
            "Three ways to get them: "
            f"(1) set DATASETS_DIR to a folder that holds {dataset}/; (2) put the files into data/raw/{dataset}/; "
            "(3) run again with a network, and torchvision downloads them"
        ) from None


def _torchvision_dataset(name: str, root: Path, train: bool, download: bool = False) -> Any:
    import torchvision.datasets  # seconds of start-up: only where nothing else has the data

    return getattr(torchvision.datasets, name)(str(root), train=train, download=download)


def _torchvision(name: str, root: Path) -> None:
    _torchvision_dataset(name, root, train=True, download=True)
    (root / "cifar-10-python.tar.gz").unlink(missing_ok=True)


def _sha256(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
