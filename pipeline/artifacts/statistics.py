"""`data/perturbations/<study>/<attack>/`: statistics of a set, as Parquet, and its mean images, as HDF5."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.artifacts.files import canonical_json, damaged, replacing, unreadable
from pipeline.artifacts.storage import reading, write_attributes, writing
from pipeline.errors import PipelineError

VERSION = 1
MEAN_IMAGES = "mean_images"


@dataclass(frozen=True)
class MeanImages:
    """Averages by class, float32, pixels in [0, 1]: originals (k, c, h, w); the others (m, m, c, h, w) by label and
    target label, over the adversarial images alone, NaN for an empty pair; m = k, or fewer of many classes."""

    originals: NDArray[np.float32]
    adversarial: NDArray[np.float32]
    perturbations: NDArray[np.float32]
    sizes: NDArray[np.float32]  # mean of |perturbation|


def write_frame(path: Path, frame: pd.DataFrame, schema: str, about: Mapping[str, Any]) -> None:
    """Write a frame as zstd Parquet; `about` and the schema's name stand in the file's own metadata."""
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    described = canonical_json({"schema": schema, "schema_version": VERSION, **about})
    # Without pandas' own metadata, which names library versions.
    table = table.replace_schema_metadata({"adversarial_input_spaces": described})
    with replacing(path) as part:
        pyarrow.parquet.write_table(table, part, compression="zstd")


def read_frame(path: Path, schema: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A frame and what it is about. Raises PipelineError if it is missing or of another schema."""
    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected a table of {schema}: run dvc repro") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(path, f"a Parquet file ({schema})", error) from None
    about = json.loads((table.schema.metadata or {}).get(b"adversarial_input_spaces", b"{}"))
    found = (about.pop("schema", None), about.pop("schema_version", None))
    if found != (schema, VERSION):
        raise damaged(path, f"expected schema {schema} version {VERSION}, found {found[0]} version {found[1]}")
    return table.to_pandas(), about


def write_mean_images(path: Path, images: MeanImages) -> None:
    """Write the averages, a dataset each."""
    with replacing(path) as part, writing(part) as file:
        write_attributes(file, {"schema": MEAN_IMAGES, "schema_version": VERSION})
        for name in MeanImages.__dataclass_fields__:
            file.create_dataset(name, data=getattr(images, name))


def read_mean_images(path: Path, most: int | None = None) -> MeanImages:
    """The averages, of the first `most` classes; PipelineError if the file is missing or not one of ours."""
    names, few = MeanImages.__dataclass_fields__, slice(most)
    with reading(path, MEAN_IMAGES, VERSION, dict.fromkeys(names, "float32")) as file:
        return MeanImages(**{name: file[name][few] if name == "originals" else file[name][few, few] for name in names})
