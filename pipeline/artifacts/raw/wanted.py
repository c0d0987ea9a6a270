"""What a study says of its images, and where their raw files lie."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from pipeline.errors import PipelineError
from pipeline.ranges import Range

RAW = Path("data/raw")
SMALLEST = 8  # pixels a side: three halvings
LISTED = 8  # names of a folder's contents in a message


@dataclass(frozen=True)
class Images:
    """The block `images` of a study.

    source : what they are, or how their files are laid out: `<source>` or `<source>:<path, or torchvision's class>`.
    raw : the folder under $DATASETS_DIR, or else under data/raw.
    test_share : share of each class that is the test split, of images that come without one.
    class_names : in the order of the labels, of files that name no classes.
    image_column, label_column : of Parquet files, where they can't be told by themselves.
    size : height and width to resize to.
    channels : 1 to take all as gray, 3 to take all as RGB; else they must all be the one or the other.
    """

    source: str
    raw: str | None = None
    test_share: Annotated[float, Range(0.05, 0.5)] | None = None
    class_names: tuple[str, ...] | None = None
    image_column: str | None = None
    label_column: str | None = None
    size: tuple[Annotated[int, Range(SMALLEST, 4096)], ...] | None = None
    channels: Literal[1, 3] | None = None


class MissingShare(PipelineError):
    """Images without a test split, of which a study does not say how large it is to be."""


@dataclass(frozen=True)
class Wanted:
    """Images that are asked for.

    kind, what : the two halves of `images.source`.
    name : by which random numbers are named.
    path : the folder, or file, that they lie in.
    where : names the block in messages.
    seed : a number for the test split, of images that come without one.
    """

    images: Images
    kind: str
    what: str
    name: str
    path: Path
    where: str
    seed: int

    @property
    def random(self) -> np.random.Generator:
        """For the test split; from its start each time."""
        return np.random.default_rng(self.seed)

    def share(self) -> float:
        """`test_share`. Raises MissingShare if there is none."""
        if self.images.test_share is None:
            raise MissingShare(
                f"{self.where}.test_share: missing: {self.images.source} comes without a test split; expected a number "
                "in [0.05, 0.5], the share that becomes one, such as 0.2"
            )
        return self.images.test_share

    def no_share(self) -> None:
        """Raises PipelineError if there is a `test_share` where the files have a test split of their own."""
        if self.images.test_share is not None:
            raise PipelineError(
                f"{self.where}.test_share: expected none: {self.path} comes with a test split; found "
                f"{self.images.test_share}"
            )


def base() -> Path:
    """The folder of all raw files: $DATASETS_DIR if it is set, else data/raw."""
    return Path(os.environ["DATASETS_DIR"]) if os.environ.get("DATASETS_DIR") else RAW


def leads_outside(path: str) -> bool:
    """Whether it may lead out of the folder that it begins in."""
    return Path(path).is_absolute() or ".." in Path(path).parts


def place(raw: str, what: str, where: str) -> Path:
    """`raw`/`what` under the folder of all raw files. Raises PipelineError if it is not inside of it."""
    for text, key in ((raw, "raw"), (what, "source")):
        if leads_outside(text):
            raise PipelineError(
                f"{where}.{key}: expected a path inside of {base()} (or of $DATASETS_DIR), found {text!r}: move or "
                "link it there; `make study NAME=... IMAGES=...` does"
            )
    return base() / raw / what


def contents(folder: Path) -> str:
    """What lies in a folder, for messages."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "") or "nothing"
