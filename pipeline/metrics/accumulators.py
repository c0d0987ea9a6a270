"""Statistics of a stream of images, block by block: memory does not grow with their number."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]
PART = 1 << 21


@dataclass
class GroupMoments:
    """Count, mean, standard deviation, minimum and maximum of values, per group.

    `add` takes values of shape (n,) or (n, ...) and the group of each row, int (n,). The standard
    deviation is the population's, as NumPy's default.
    """

    groups: int
    count: Doubles = field(init=False)
    total: Doubles = field(init=False)
    squares: Doubles = field(init=False)
    minimum: Doubles = field(init=False)
    maximum: Doubles = field(init=False)

    def __post_init__(self) -> None:
        self.count, self.total, self.squares = (np.zeros(self.groups) for _ in range(3))
        self.minimum = np.full(self.groups, np.inf)
        self.maximum = np.full(self.groups, -np.inf)

    def add(self, values: Floats, group: NDArray[np.integer]) -> None:
        if not len(values):
            return
        flat = values.reshape(len(values), -1)
        self.count += np.bincount(group, minlength=self.groups) * flat.shape[1]
        self.total += np.bincount(group, flat.sum(1, dtype=np.float64), self.groups)
        squares = [np.square(part, dtype=np.float64).sum(1) for part in parts_of(flat)]
        self.squares += np.bincount(group, np.concatenate(squares), self.groups)
        np.minimum.at(self.minimum, group, flat.min(1))
        np.maximum.at(self.maximum, group, flat.max(1))

    def mean(self) -> Doubles:
        """Per group; NaN where it is empty."""
        with np.errstate(invalid="ignore"):
            return self.total / self.count

    def std(self) -> Doubles:
        """Per group; NaN where it is empty."""
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.maximum(self.squares / self.count - self.mean() ** 2, 0))

    def summary(self) -> dict[str, Doubles]:
        """mean, std, min, max per group."""
        empty = self.count == 0
        return {
            "mean": self.mean(),
            "std": self.std(),
            "min": np.where(empty, np.nan, self.minimum),
            "max": np.where(empty, np.nan, self.maximum),
        }


class GroupMeanImages:
    """Mean image per group, and how many images each mean is of."""

    def __init__(self, groups: int, image_shape: tuple[int, ...]) -> None:
        self.count = np.zeros(groups, np.int64)
        self.total = np.zeros((groups, *image_shape))

    def add(self, images: Floats, group: NDArray[np.integer]) -> None:
        """Add images (n, c, h, w) to the groups int (n,)."""
        for number in np.unique(group):
            chosen = images[group == number]
            self.count[number] += len(chosen)
            self.total[number] += chosen.sum(0, dtype=np.float64)

    def mean(self) -> NDArray[np.float32]:
        """float32 (groups, c, h, w); NaN where a group is empty."""
        with np.errstate(invalid="ignore"):
            found = np.empty(self.total.shape, np.float32)  # no float64 copy of all
            return np.divide(self.total, self.count[:, None, None, None], out=found, casting="same_kind")


class PixelHistogram:
    """Counts of values between -1 and 1 in equal bins; a value on an edge belongs to the bin above it."""

    def __init__(self, bins: int = 2000) -> None:
        self.edges = np.linspace(-1, 1, bins + 1)
        self.counts = np.zeros(bins, np.int64)

    def add(self, values: Floats) -> None:
        """Add values of any shape, each in [-1, 1]."""
        bins = len(self.counts)
        for part in parts_of(values.ravel()):
            flat = part.astype(np.float64)  # in float32 values next to an edge end up on its other side
            index = np.clip(((flat + 1) * (bins / 2)).astype(np.int64), 0, bins - 1)
            index -= flat < self.edges[index]
            index += (flat >= self.edges[index + 1]) & (index < bins - 1)
            self.counts += np.bincount(index, minlength=bins)


def parts_of(values: Floats) -> Iterator[Floats]:
    """Some rows at a time, of PART values together or one row of more: what is made of them in float64 stays small."""
    rows = max(1, PART * len(values) // max(1, values.size))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]
