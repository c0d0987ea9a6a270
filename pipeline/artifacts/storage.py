"""HDF5 opened with its schema checked, and written by files that appear whole."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import h5py

from pipeline.artifacts.files import as_os_error, damaged, unreadable
from pipeline.errors import PipelineError


def write_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Root attributes in sorted order (the order is part of the file's bytes); str and int only."""
    for name in sorted(attributes):
        file.attrs[name] = attributes[name]


# Bytes. HDF5 that finds no room for what it holds says so in many lines for each object, and crashes; so it gets some.
ROOM = 16 << 20


@contextmanager
def writing(part: Path, mode: Literal["w", "r+"] = "w") -> Iterator[h5py.File]:
    """An HDF5 file, new or again, open for writing: a part of `replacing`. OSError where the disk is full."""
    if shutil.disk_usage(part.parent).free < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        file = h5py.File(part, mode)
    except OSError as error:  # HDF5's text names its flags
        raise as_os_error(error, part) or error from None
    try:
        yield file
        file.flush()
    except OSError as error:
        if error.filename is None and error.errno:  # HDF5's own, of many lines
            os.truncate(part, 0)  # makes room for what HDF5 still holds
            with suppress(RuntimeError):
                file.close()
            raise OSError(error.errno, os.strerror(error.errno)) from None
        raise
    finally:
        file.close()


@contextmanager
def reading(
    path: Path, schema: str, version: int, datasets: Mapping[str, str], attributes: Sequence[str] = ()
) -> Iterator[h5py.File]:
    """An HDF5 file open for reading, once its schema, version, datasets and attributes are as expected.

    `datasets` maps each dataset's name to its dtype. Raises PipelineError naming what is wrong.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected an HDF5 file ({schema}): run dvc repro") from None
    except OSError as error:
        raise unreadable(path, f"an HDF5 file ({schema})", error) from None
    with file:
        found = (file.attrs.get("schema"), file.attrs.get("schema_version"))
        if found != (schema, version):
            raise damaged(path, f"expected schema {schema} version {version}, found {found[0]} version {found[1]}")
        for name in attributes:
            if name not in file.attrs:
                raise damaged(path, f"expected a root attribute '{name}', found none")
        for name, dtype in datasets.items():
            if name not in file or not isinstance(file[name], h5py.Dataset):
                raise damaged(path, f"expected a dataset '{name}', found none")
            if file[name].dtype != dtype:
                raise damaged(path, f"dataset '{name}': expected {dtype}, found {file[name].dtype}")
        yield file
