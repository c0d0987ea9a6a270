"""Pictures as HDF5: a dataclass whose fields are arrays, a dataset each, and tuples of names, an attribute each."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np

from pipeline.artifacts.files import replacing
from pipeline.artifacts.storage import reading, write_attributes, writing

VERSION = 1
Picture = TypeVar("Picture")


def write_picture(path: Path, picture: Any) -> None:
    """Write them, of schema and order as their class says; the file appears only when it is whole."""
    values = {field.name: getattr(picture, field.name) for field in fields(picture)}
    names = {name: json.dumps(value) for name, value in values.items() if isinstance(value, tuple)}
    with replacing(path) as part, writing(part) as file:
        write_attributes(file, {"schema": _schema(type(picture)), "schema_version": VERSION, **names})
        for name, value in values.items():
            if name not in names:
                file.create_dataset(name, data=value)


def read_picture(path: Path, kind: type[Picture]) -> Picture:
    """Pictures of this class; PipelineError if the file is missing or not one of ours."""
    datasets, names = {}, []
    for name, hint in get_type_hints(kind).items():
        if hint == tuple[str, ...]:
            names.append(name)
        else:  # NDArray[<type>] is ndarray[<shape>, dtype[<type>]]
            datasets[name] = np.dtype(hint.__args__[1].__args__[0]).name
    with reading(path, _schema(kind), VERSION, datasets, names) as file:
        return kind(
            **{name: tuple(json.loads(file.attrs[name])) for name in names},
            **{name: file[name][:] for name in datasets},
        )


def _schema(kind: type) -> str:
    return kind.__name__.lower()
