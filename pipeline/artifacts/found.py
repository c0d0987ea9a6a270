"""`images.h5` of an adaptive attack: what was found against a whole defense."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.files import replacing
from pipeline.artifacts.storage import reading, write_attributes, writing

SCHEMA, VERSION = "found", 1
DATASETS = {
    "images": "float32",
    "originals": "uint8",
    "original_row": "int32",
    "source_index": "int32",
    "labels": "uint8",
    "is_adversarial": "bool",
    "nearest": "bool",
}


@dataclass(frozen=True)
class Found:
    """n images made from m originals of the test split.

    images float32 (n, c, h, w) in [0, 1]; originals uint8 (m, c, h, w); original_row int32 (n,); source_index int32
    (m,), rows of the test split; labels uint8 (n,); is_adversarial bool (n,): the vote over fresh draws is not the
    label; nearest bool (n,): of the attack that looks for the shortest perturbation, else within the budget.
    """

    images: NDArray[np.float32]
    originals: NDArray[np.uint8]
    original_row: NDArray[np.int32]
    source_index: NDArray[np.int32]
    labels: NDArray[np.uint8]
    is_adversarial: NDArray[np.bool_]
    nearest: NDArray[np.bool_]


def write_found(path: Path, study: str, defense: str, found: Found) -> None:
    """Write the images; the file appears only when it is whole."""
    with replacing(path) as part, writing(part) as file:
        about = {"schema": SCHEMA, "schema_version": VERSION, "dataset": study, "defense": defense}
        write_attributes(file, about)
        for name in DATASETS:
            file.create_dataset(name, data=getattr(found, name))


def read_found(path: Path) -> Found:
    """The images back; PipelineError if the file is missing or not one of ours."""
    with reading(path, SCHEMA, VERSION, DATASETS, ("dataset", "defense")) as file:
        return Found(**{name: file[name][:] for name in DATASETS})
