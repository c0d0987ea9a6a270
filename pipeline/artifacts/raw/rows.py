"""Raw images row by row: what each source hands on, so that no split need be in memory at once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.files import checksum_of
from pipeline.errors import PipelineError

# What folders and files call a training and a test split, the first that is there.
TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "testing", "validation", "valid", "val")


class Row(NamedTuple):
    """One image: uint8 (h, w), or (h, w, 3); its label; the file, of several, it is in; its place, for messages."""

    image: NDArray[np.uint8]
    label: int
    part: str
    where: str


@dataclass(frozen=True)
class Rows:
    """A split: how many rows, what makes an iterator over them, and their labels, if they are known before."""

    count: int
    read: Callable[[], Iterator[Row]]
    labels: NDArray[Any] | None = None

    def order(self, random: np.random.Generator) -> NDArray[np.int64] | None:
        """Where each row is to stand, so that no class stands apart; None: they are mixed as they are.

        Later stages take the first so many originals. Rows come class by class if a label follows another one less
        than half as often as it would by chance.
        """
        if self.labels is None or not self.count:
            return None
        shares = np.unique(self.labels, return_counts=True)[1] / self.count
        changes = np.count_nonzero(np.diff(self.labels))
        return random.permutation(self.count) if changes < 0.5 * self.count * (1 - (shares**2).sum()) else None


@dataclass(frozen=True)
class Raw:
    """All that a source says.

    where : the file, or folder, of them all, for messages.
    source : in words, where the images came from.
    checksum : of the source; empty: that of the rows themselves.
    known : how many images train and test split of this data set have, if that is known.
    """

    where: str
    dataset: str
    class_names: tuple[str, ...]
    source: str
    splits: dict[str, Rows]
    checksum: str = ""
    known: tuple[int, int] | None = None


def rows_of(images: NDArray[np.uint8], labels: NDArray[Any], where: str, mask: NDArray[np.bool_] | None = None) -> Rows:
    """The rows of arrays, or those of a mask: images (n, h, w), or (n, h, w, 3)."""
    chosen = np.arange(len(labels)) if mask is None else np.flatnonzero(mask)

    def read() -> Iterator[Row]:
        for number in chosen:
            yield Row(images[number], int(labels[number]), "", f"{where}: image {number}")

    return Rows(len(chosen), read, labels[chosen])


def drawn_for_test(labels: NDArray[Any], share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """True for `share` of each class, at least one image, and never all."""
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        test[rows[: min(max(1, round(len(rows) * share)), len(rows) - 1)]] = True
    return test


def numbered(labels: Sequence[Any], names: tuple[str, ...] | None, where: str) -> tuple[list[int], tuple[str, ...]]:
    """Labels as numbers, with the classes' names.

    names : in the order of the numbers; if None, texts are numbered in their order, and numbers are their own names.

    Raises PipelineError if a label is neither a whole number nor a text, or numbers that are names leave some out.
    """
    if all(isinstance(label, str) for label in labels) and len(labels):
        known = names or tuple(sorted(set(labels)))
        number = {name: at for at, name in enumerate(known)}
        for label in labels:
            if label not in number:
                raise PipelineError(f"{where}: expected a label of {', '.join(known[:10])}, found {label!r}")
        return [number[label] for label in labels], known
    for row, label in enumerate(labels):
        if not isinstance(label, int | np.integer):
            raise PipelineError(f"{where}: row {row}: expected a whole number or a text as label, found {label!r}")
    found = [int(label) for label in labels]
    if names:
        return found, names
    present, most = {number for number in found if number >= 0}, max(found, default=-1)
    if len(present) <= most:
        absent = islice((number for number in range(most) if number not in present), 8)
        raise PipelineError(
            f"{where}: expected each of the labels 0 to {most}, found none of: {', '.join(map(str, absent))}: number "
            "the classes anew"
        )
    return found, tuple(map(str, range(1 + most)))


def check_label(row: Row, classes: int) -> None:
    """Raise PipelineError if a label has no class."""
    if not 0 <= row.label < classes:
        raise PipelineError(f"{row.where}: expected a label below {classes}, found {row.label}")


def sha256(*contents: bytes) -> str:
    """SHA-256 over the contents' own."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def sha256_of_files(paths: Sequence[Path]) -> str:
    """The same of files, none of which is read at once."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(checksum_of(path)))
    return digest.hexdigest()
