"""`data/restorations/<dataset>/examples.h5`: a few images, and what each method restores them to."""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.storage import reading, replacing, write_attributes

SCHEMA, VERSION = "restorations", 1
DATASETS = {
    "labels": "uint8",
    "target_labels": "uint8",
    "inputs": "float32",
    "restored": "float32",
}


@dataclass(frozen=True)
class Restorations:
    """e originals, s kinds of input made from each ("clean" is the original itself), m methods.

    labels and target_labels uint8 (e,); inputs float32 (s, e, c, h, w); restored (m, s, e, c, h, w), one pass each.
    """

    kinds: tuple[str, ...]
    methods: tuple[str, ...]
    labels: NDArray[np.uint8]
    target_labels: NDArray[np.uint8]
    inputs: NDArray[np.float32]
    restored: NDArray[np.float32]


def write_restorations(path: Path, examples: Restorations) -> None:
    """Write the examples; the file appears only when it is whole."""
    with replacing(path) as part, h5py.File(part, "w") as file:
        write_attributes(
            file,
            {
                "schema": SCHEMA,
                "schema_version": VERSION,
                "kinds": json.dumps(examples.kinds),
                "methods": json.dumps(examples.methods),
            },
        )
        for name in DATASETS:
            file.create_dataset(name, data=getattr(examples, name))


def read_restorations(path: Path) -> Restorations:
    """The examples; PipelineError if the file is missing or not one of ours."""
    with reading(path, SCHEMA, VERSION, DATASETS, ("kinds", "methods")) as file:
        return Restorations(
            kinds=tuple(json.loads(file.attrs["kinds"])),
            methods=tuple(json.loads(file.attrs["methods"])),
            **{name: file[name][:] for name in DATASETS},
        )
