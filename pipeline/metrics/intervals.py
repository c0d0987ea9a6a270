"""95 % intervals by bootstrap over originals: the nine images of one original are not independent."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000


@dataclass(frozen=True)
class Rate:
    """A mean with its 95 % interval over the choice of originals; not over the training of a model."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def bootstrap_mean(values: NDArray[Any], groups: NDArray[np.integer[Any]] | None = None) -> Rate:
    """Mean of `values` (n,), with the percentile interval of 1,000 resamplings of whole groups.

    `groups`: int (n,), the original of each value; without it each value is its own group. The random
    numbers are the same in every call. Raises ValueError if there are no values.
    """
    if not len(values):
        raise ValueError("no values to take the mean of")
    if groups is None:
        totals, counts = np.asarray(values, float), np.ones(len(values))
    else:
        inverse = np.unique(groups, return_inverse=True)[1]
        totals = np.bincount(inverse, np.asarray(values, float))
        counts = np.bincount(inverse).astype(float)
    random = np.random.default_rng(0)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = random.integers(len(totals), size=len(totals))
        means[i] = totals[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return Rate(float(totals.sum() / counts.sum()), float(low), float(high))
