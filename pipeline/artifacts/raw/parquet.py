"""Hugging Face's Parquet layout: shards of a split, a column of encoded images and one of labels."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.files import checksum_of
from pipeline.artifacts.raw.decoding import decode
from pipeline.artifacts.raw.files import beneath
from pipeline.artifacts.raw.rows import TEST_NAMES, Raw, Row, Rows, drawn_for_test, numbered
from pipeline.artifacts.raw.wanted import Wanted, contents
from pipeline.errors import PipelineError

BLOCK = 64  # rows that are read at once
IMAGE_NAMES, LABEL_NAMES = ("img", "image"), ("label", "labels")


def files(wanted: Wanted) -> list[Path]:
    """All Parquet files beneath the folder."""
    return beneath(wanted.path, lambda name: name.endswith(".parquet"))


def read(wanted: Wanted, names: tuple[str, ...] | None = None) -> Raw:
    """`train` and `test` (or `validation`), several shards or one, by file name or by folder; or the first alone.

    The columns are those of `image_column` and `label_column`; or those that the Hugging Face metadata calls Image and
    ClassLabel; or img or image, and label; or the only ones of their kind. Texts are labels too.

    names : classes, if neither the study nor the files name them.

    Raises PipelineError if a shard is missing, none can be told for images or labels, the classes' names differ between
    files.
    """
    shards = shards_of(wanted)
    tables = {path: _table(path, wanted) for paths in shards.values() for path in paths}
    named = {path: table.names for path, table in tables.items() if table.names}
    for path, found in named.items():
        first = next(iter(named))
        if found != named[first]:
            raise PipelineError(
                f"{path}: expected the classes of {first.name}, {list(named[first])}; found {list(found)}"
            )
    given = wanted.images.class_names or next(iter(named.values()), None) or names
    every = {path: _label_column(table) for path, table in tables.items()}
    together = [label for paths in shards.values() for path in paths for label in every[path]]
    numbers, class_names = numbered(together, given, f"{wanted.path}: {next(iter(tables.values())).label}")
    start, labels = 0, {}
    for paths in shards.values():
        for path in paths:
            labels[path] = np.array(numbers[start : start + len(every[path])], np.int64)
            start += len(every[path])
    if "test" in shards:
        wanted.no_share()
        splits = {
            split: _rows([(tables[path], labels[path], None) for path in paths]) for split, paths in shards.items()
        }
    else:
        test = drawn_for_test(np.concatenate([labels[path] for path in shards["train"]]), wanted.share(), wanted.random)
        masks = dict(
            zip(shards["train"], np.split(test, np.cumsum([len(labels[p]) for p in shards["train"]])[:-1]), strict=True)
        )
        splits = {
            split: _rows([(tables[path], labels[path], masks[path] == (split == "test")) for path in shards["train"]])
            for split in ("train", "test")
        }
    encodings = sorted({_encoding(table) for table in tables.values()})
    source = f"Parquet files of {wanted.name} ({', '.join(encodings)} encoded)"
    return Raw(str(wanted.path), wanted.name, class_names, source, splits)


@dataclass(frozen=True)
class _Table:
    """One file, with the columns of its images and its labels, and its classes' names if it has them."""

    path: Path
    image: str
    label: str
    names: tuple[str, ...] | None


def shards_of(wanted: Wanted) -> dict[str, list[Path]]:
    """The shards of train, and of test if there are any; checked to be all of them."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files(wanted):
        for split in ("train", *TEST_NAMES):
            if re.match(rf"{split}(?![a-z])", path.stem) or path.parent.name == split:
                found[split].append(path)
        if path.parent.name.startswith("partial-"):
            raise PipelineError(f"{path}: expected a whole data set, found a part of one (partial-...)")
    if not found["train"]:
        raise PipelineError(f"{wanted.path}: expected train*.parquet, found {contents(wanted.path)}")
    shards = {"train": found["train"]}
    if name := next((name for name in TEST_NAMES if found[name]), None):
        shards["test"] = found[name]
    for split, paths in shards.items():
        _check_complete(wanted.path, name if split == "test" and name else split, paths)
    return shards


def _check_complete(folder: Path, split: str, paths: Sequence[Path]) -> None:
    """Refuse some of the shards of a split, or two copies of one: `train-00000-of-00002.parquet` says how many."""
    names = [re.match(r"(?:\w+-)?0*(\d+)(?:-of-0*(\d+))?(?:-\w+)?$", path.stem) for path in paths]
    folders = {path.parent for path in paths}
    if len(folders) > 1:
        some = ", ".join(sorted(path.relative_to(folder).as_posix() or "." for path in folders))
        raise PipelineError(
            f"{folder}: expected the shards of {split} in one folder, found them in {some}: name one of them"
        )
    for path, named in zip(paths, names, strict=True):
        if named and named[2] and len(paths) != int(named[2]):
            raise PipelineError(
                f"{folder}: expected {int(named[2])} shards of {split}, found {len(paths)}: {path.name} ..."
            )
    numbers = [int(named[1]) for named in names if named]
    if len(numbers) == len(paths) and sorted(numbers) != list(range(len(paths))):
        raise PipelineError(
            f"{folder}: expected shards 0 to {max(len(paths) - 1, max(numbers))} of {split}, found {sorted(numbers)}"
        )
    seen: dict[tuple[int, str], Path] = {}
    sizes = [path.stat().st_size for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if sizes.count(size) > 1:
            key = size, checksum_of(path)
            if key in seen:
                raise PipelineError(f"{path}: expected other rows than those of {seen[key].name}, found the same twice")
            seen[key] = path


def _table(path: Path, wanted: Wanted) -> _Table:
    import pyarrow
    import pyarrow.parquet  # where it is needed: the stage that always runs only lists files

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise PipelineError(f"{path}: expected a Parquet file: {' '.join(str(error).split())}") from None
    features = _features(schema.metadata)
    kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}

    def column(given: str | None, kind: str, usual: Sequence[str], fits: Any, what: str, key: str) -> str:
        if given is not None:
            if given in schema.names:
                return given
            raise PipelineError(f"{path}: {key}: expected one of the columns {sorted(schema.names)}, found {given!r}")
        told = [name for name in schema.names if kinds.get(name) == kind]
        usually = [name for name in usual if name in schema.names]
        fitting = [field.name for field in schema if fits(field.type)]
        for found in (told, usually, fitting):
            if len(found) == 1 or (found and found is usually):
                return found[0]
            if len(found) > 1:
                raise PipelineError(f"{path}: several columns may be {what}: {found}: name one with images.{key}")
        raise PipelineError(
            f"{path}: expected columns img (or image) and label, found {sorted(schema.names)}: images.{key}"
        )

    types = pyarrow.types
    image = column(
        wanted.images.image_column, "Image", IMAGE_NAMES,
        lambda kind: types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind), "images",
        "image_column",
    )  # fmt: skip
    label = column(
        wanted.images.label_column, "ClassLabel", LABEL_NAMES,
        lambda kind: types.is_integer(kind) or types.is_string(kind), "labels", "label_column",
    )  # fmt: skip
    names = features.get(label, {}).get("names") if isinstance(features.get(label), dict) else None
    return _Table(path, image, label, tuple(names) if names else None)


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What the Hugging Face library has written of the columns."""
    try:
        found = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _label_column(table: _Table) -> list[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        values: list[Any] = pyarrow.parquet.read_table(table.path, columns=[table.label])[table.label].to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise PipelineError(f"{table.path}: cannot be read: {' '.join(str(error).split())}") from None
    for row, label in enumerate(values):
        if not isinstance(label, int | str):
            raise PipelineError(f"{table.path}: row {row}: expected a whole number or a text as label, found {label}")
    return values


def _rows(parts: Sequence[tuple[_Table, NDArray[np.int64], NDArray[np.bool_] | None]]) -> Rows:
    """Of some files the rows, or those of a mask."""

    def read() -> Iterator[Row]:
        for table, labels, mask in parts:
            for number, cell in enumerate(_cells(table)):
                if mask is None or mask[number]:
                    where = f"{table.path}: row {number}"
                    image = decode(_encoded(cell, table.path, where), where)
                    yield Row(image, int(labels[number]), str(table.path), where)

    every = np.concatenate([labels if mask is None else labels[mask] for _, labels, mask in parts])
    return Rows(len(every), read, every)


def _cells(table: _Table) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(table.path) as file:
            for batch in file.iter_batches(batch_size=BLOCK, columns=[table.image]):
                yield from batch.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise PipelineError(f"{table.path}: cannot be read: {' '.join(str(error).split())}") from None


def _encoded(cell: Any, path: Path, where: str) -> bytes | Path:
    """The bytes of a cell, or the file that it names."""
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, dict) or "bytes" not in cell:
        found = ", ".join(cell) if isinstance(cell, dict) else type(cell).__name__
        raise PipelineError(f"{where}: expected an image cell with the field bytes, found {found}")
    content = cell["bytes"]
    if content is None:  # only a path: the file lies beside the shards
        beside = path.parent / str(cell.get("path"))
        if not beside.is_file():
            raise PipelineError(f"{where}: expected bytes, or a file {beside}; found neither")
        return beside
    if not isinstance(content, bytes):
        raise PipelineError(f"{where}: expected bytes, found {type(content).__name__}")
    return content


def _encoding(table: _Table) -> str:
    """How the first image of a file is encoded, as its first bytes say."""
    cell = next(iter(_cells(table)), None)
    if cell is None:
        raise PipelineError(f"{table.path}: expected rows, found none")
    content = _encoded(cell, table.path, f"{table.path}: row 0")
    head = content[:12] if isinstance(content, bytes) else content.read_bytes()[:12]
    starts = {
        b"\x89PNG": "PNG",
        b"\xff\xd8": "JPEG",
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"RIFF": "WEBP",
        b"II*": "TIFF",
        b"MM": "TIFF",
    }
    return next((name for start, name in starts.items() if head.startswith(start)), "otherwise")
