"""Images and what generators make of them, with the classes predicted before and after."""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.storage import reading, replacing, write_attributes

SCHEMA, VERSION = "generated", 1
DATASETS = {
    "originals": "float32",
    "labels": "uint8",
    "generated": "float32",
    "predicted_before": "uint8",
    "predicted_after": "uint8",
}


@dataclass(frozen=True)
class Generated:
    """e images and m generators, named by `names`: originals float32 (e, c, h, w), labels uint8 (e,), generated
    float32 (m, e, c, h, w); the classes that each generator's own classifier predicts, uint8 (m, e)."""

    names: tuple[str, ...]
    originals: NDArray[np.float32]
    labels: NDArray[np.uint8]
    generated: NDArray[np.float32]
    predicted_before: NDArray[np.uint8]
    predicted_after: NDArray[np.uint8]


def write_generated(path: Path, examples: Generated) -> None:
    """Write the examples; the file appears only when it is whole."""
    with replacing(path) as part, h5py.File(part, "w") as file:
        attributes = {"schema": SCHEMA, "schema_version": VERSION, "names": json.dumps(examples.names)}
        write_attributes(file, attributes)
        for name in DATASETS:
            file.create_dataset(name, data=getattr(examples, name))


def read_generated(path: Path) -> Generated:
    """The examples; PipelineError if the file is missing or not one of ours."""
    with reading(path, SCHEMA, VERSION, DATASETS, ("names",)) as file:
        return Generated(names=tuple(json.loads(file.attrs["names"])), **{name: file[name][:] for name in DATASETS})
