"""Raw files made by tests, and what comes of them when they are read, checked and stored."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.images import Description, Split, read_description, read_split, write_images
from pipeline.artifacts.raw import sources
from pipeline.artifacts.raw.checks import Checked
from pipeline.artifacts.raw.wanted import Images

CLASSES = ["plane", "car"]


def stored(folder: Path, source: str, name: str = "made", **more: Any) -> tuple[Description, dict[str, Split]]:
    """What is in the images file that is made of a source; DATASETS_DIR says where it lies."""
    path = store(folder, source, name, **more)
    return read_description(path), {split: read_split(path, split) for split in ("train", "test")}


def store(folder: Path, source: str, name: str = "made", **more: Any) -> Path:
    images, path = Images(source, **more), folder / "images.h5"
    checked = Checked(sources.read(sources.wanted(images, name, "images")), images, "images")
    write_images(path, checked.description, checked.streams())
    return path


def picture(random: np.random.Generator, height: int = 10, width: int = 9, channels: int = 3) -> NDArray[np.uint8]:
    shape = (height, width, channels) if channels == 3 else (height, width)
    return random.integers(0, 256, shape, np.uint8)


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def shard(
    path: Path, cells: list[Any], labels: list[Any], columns: tuple[str, str] = ("img", "label"), **features: Any
) -> None:
    """A Parquet file; features: as the Hugging Face library writes them, CLASSES of `label` if none are given."""
    told = features or {columns[1]: {"names": CLASSES}}
    images = [{"bytes": cell, "path": None} if not isinstance(cell, dict) else cell for cell in cells]
    table = pyarrow.table({columns[0]: images, columns[1]: labels})
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"huggingface": json.dumps({"info": {"features": told}})}
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)


def image_folder(
    folder: Path,
    counts: dict[str, int],
    random: np.random.Generator,
    height: int = 10,
    width: int = 9,
    channels: int = 3,
) -> None:
    """A folder per class, with as many images as `counts` says."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(random, height, width, channels)).save(folder / name / f"{number:03}.png")
