"""95 % intervals by bootstrap over originals: the nine images of one original are not independent."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError

RESAMPLES = 1000


@dataclass(frozen=True)
class Rate:
    """A mean with its 95 % interval: over originals, if nothing else is said; not over a model's training."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def bootstrap_mean(values: NDArray[Any], groups: NDArray[np.integer[Any]] | None = None, signed: bool = False) -> Rate:
    """Mean of `values` (n,), with the percentile interval of 1,000 resamplings of whole groups.

    `groups`: int (n,), the original of each value; without it each value is its own group. The random
    numbers are the same in every call. Where every value is 0 or every value is 1, the open end is the exact
    binomial (Clopper-Pearson) bound on the number of groups; of `signed` differences, all -1, 0 or 1, both ends are
    that far, within [-1, 1].
    Raises PipelineError if there are no values.
    """
    if not len(values):
        raise PipelineError("no images to average over: expected some that are adversarial in every set")
    if groups is None:
        totals, counts = np.asarray(values, float), np.ones(len(values))
    else:
        inverse = np.unique(groups, return_inverse=True)[1]
        totals = np.bincount(inverse, np.asarray(values, float))
        counts = np.bincount(inverse).astype(float)
    value = float(totals.sum() / counts.sum())
    alike = np.unique(totals / counts)
    if len(alike) == 1 and value in (-1, 0, 1):
        # All alike: resampling shows no spread. The exact bound for as many successes as originals.
        bound = 0.025 ** (1 / len(totals))
        if signed:
            return Rate(value, max(-1.0, value - (1 - bound)), min(1.0, value + (1 - bound)))
        return Rate(1.0, bound, 1.0) if value == 1 else Rate(0.0, 0.0, 1 - bound)
    random = np.random.default_rng(0)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = random.integers(len(totals), size=len(totals))
        means[i] = totals[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return Rate(value, float(low), float(high))
