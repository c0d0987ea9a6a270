"""95 % intervals over originals: exact where one original is one trial or few fail, by bootstrap elsewhere.

The images of one original are not independent, so originals are what is counted and resampled. Nothing here covers the
training of a model.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError

RESAMPLES = 1000
BLOCK = 50  # resamples drawn at once
# Where fewer originals than this fail (or succeed, or differ) the bootstrap's intervals are too short: with nine images
# alike of an original and one failing original's worth they cover the truth in two cases of three (a test shows it).
FEW = 30
TAIL = 0.025
# Pseudo-originals with equal images that a correlation is estimated with: from the few that fail it comes out too low.
PRIOR = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """A mean with its 95 % interval: over originals, if nothing else is said; not over a model's training."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Difference(Rate):
    """Of two outcomes on the same images. originals : how many.

    p : of the exact McNemar test, two-sided; None where an original has several images.
    """

    p: float | None
    originals: int


def mean_with_interval(values: NDArray[Any], groups: NDArray[np.integer[Any]] | None = None) -> Rate:
    """Mean of `values` in [0, 1], (n,), with its interval.

    groups : int (n,), the original of each value; without it each value is an original's own. The rules:

    - one value per original, all 0 or 1: Clopper-Pearson.
    - fewer than FEW = 30 originals that fail at all, or that succeed at all: Clopper-Pearson on the effective sample
      size (Korn and Graubard 1998), images / (1 + (images per original - 1) x correlation). The intraclass correlation
      is that of the linearized variance of the mean between originals, averaged with PRIOR = 2 originals whose images
      all do the same; with one failing original or none it is 1: as many trials as originals.
    - else: percentiles of 1,000 resamplings of whole originals, the same random numbers in every call.

    Raises PipelineError if there are no values.
    """
    totals, counts = _by_original(values, groups)
    if len(totals) == len(values) and np.isin(totals, (0, 1)).all():
        return Rate(float(totals.mean()), *clopper_pearson(float(totals.sum()), len(totals)))
    fewest = min(np.count_nonzero(totals), np.count_nonzero(totals < counts))
    return _few(totals, counts) if fewest < FEW else _bootstrap(totals, counts)


def difference_with_interval(values: NDArray[Any], groups: NDArray[np.integer[Any]] | None = None) -> Difference:
    """Mean of the differences `values` in [-1, 1], (n,), of two outcomes on the same images, with its interval.

    One value per original, all -1, 0 or 1, or fewer than FEW originals that differ from 0: the shares of the positive
    and of the negative parts with their intervals of `mean_with_interval`, joined as Newcombe (1998, method 10) joins
    two that are correlated. Of the former p is exact, and the interval holds zero wherever p is 0.05 or more.
    Else: the bootstrap of `mean_with_interval`. Raises PipelineError if there are no values.
    """
    totals, counts = _by_original(values, groups)
    positive, negative = (_by_original(np.maximum(sign * values, 0), groups)[0] for sign in (1, -1))
    if len(totals) == len(values) and np.isin(totals, (-1, 0, 1)).all():
        p = sign_test(int(positive.sum()), int(negative.sum()))
        rate = _joined(positive, negative, counts)
        low, high = (rate.low, rate.high) if p < 2 * TAIL else (min(rate.low, 0.0), max(rate.high, 0.0))
        return Difference(rate.value, low, high, p, len(totals))
    few = np.count_nonzero(positive + negative) < FEW
    rate = _joined(positive, negative, counts) if few else _bootstrap(totals, counts)
    return Difference(rate.value, rate.low, rate.high, None, len(totals))


def ratio_with_interval(
    numerators: NDArray[Any], denominators: NDArray[Any], groups: NDArray[np.integer[Any]] | None = None
) -> Rate:
    """Sum of the one over the sum of the other, (n,) each, of values of any range; with denominators of 1 their mean.

    The interval is Student's, by the linearized variance of a ratio between originals (Cochran 1977, Section 6.4).
    Raises PipelineError if there are fewer than two originals.
    """
    from scipy.special import stdtrit  # here: the report imports this file and needs no SciPy

    totals, _ = _by_original(numerators, groups)
    counts, _ = _by_original(denominators, groups)
    originals = len(totals)
    if originals < 2:
        raise PipelineError("a ratio: expected two originals or more for its interval, found one")
    value = totals.sum() / counts.sum()
    spread = np.sqrt(originals / (originals - 1) * np.square(totals - value * counts).sum()) / counts.sum()
    half = float(stdtrit(originals - 1, 1 - TAIL) * spread)
    return Rate(float(value), float(value) - half, float(value) + half)


def sign_test(more: int, less: int) -> float:
    """Two-sided p, twice the smaller tail, of so many differences to either side; 1 where there are none."""
    from scipy.special import bdtr

    return float(min(1.0, 2 * bdtr(min(more, less), more + less, 0.5)))


def clopper_pearson(successes: float, trials: float) -> tuple[float, float]:
    """Exact 95 % interval of a binomial rate; either number may be no whole one."""
    from scipy.special import betaincinv  # here: the report imports this file and needs no SciPy; `scipy.stats` is slow

    low = float(betaincinv(successes, trials - successes + 1, TAIL)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, trials - successes, 1 - TAIL)) if successes < trials else 1.0
    return low, high


def _by_original(values: NDArray[Any], groups: NDArray[np.integer[Any]] | None) -> tuple[Floats, Floats]:
    """Sum of the values of each original, and their number."""
    if not len(values):
        raise PipelineError("no images to average over: expected some that are adversarial in every set")
    if groups is None:
        return np.asarray(values, float), np.ones(len(values))
    inverse = np.unique(groups, return_inverse=True)[1]
    return np.bincount(inverse, np.asarray(values, float)).astype(float), np.bincount(inverse).astype(float)


def _few(totals: Floats, counts: Floats) -> Rate:
    """Clopper-Pearson on the effective sample size; totals in [0, counts] of each original."""
    images, originals = counts.sum(), len(totals)
    value = float(totals.sum() / images)
    together = float(np.square(counts).sum() / images)  # images of an original, as a typical image sees it
    correlation = 1.0
    if 0 < value < 1 and together > 1 and originals > 1:
        between = originals / (originals - 1) * np.square(totals - value * counts).sum() / images**2
        found = np.clip((between / (value * (1 - value) / images) - 1) / (together - 1), 0, 1)
        # What k originals that fail tell of it, k - 1 of them do: one alone fails together with itself.
        known = min(np.count_nonzero(totals), np.count_nonzero(totals < counts)) - 1
        correlation = float((known * found + PRIOR) / (known + PRIOR)) if known > 0 else 1.0
    trials = float(images / (1 + (together - 1) * correlation))
    return Rate(value, *clopper_pearson(value * trials, trials))


def _joined(positive: Floats, negative: Floats, counts: Floats) -> Rate:
    """Interval of the difference of two shares of the same images from theirs."""
    more, less = _few(positive, counts), _few(negative, counts)
    # No image is in both shares: the more in one, the fewer in the other.
    odds = [share.value / (1 - share.value) if share.value < 1 else 0.0 for share in (more, less)]
    correlation = -min(1.0, float(np.sqrt(odds[0] * odds[1])))

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(one**2 + other**2 - 2 * correlation * one * other))

    value = more.value - less.value
    low = value - reach(more.value - more.low, less.high - less.value)
    high = value + reach(more.high - more.value, less.value - less.low)
    return Rate(value, max(-1.0, low), min(1.0, high))


def _bootstrap(totals: Floats, counts: Floats) -> Rate:
    random = np.random.default_rng(0)
    means = np.empty(RESAMPLES)
    for i in range(0, RESAMPLES, BLOCK):
        drawn = random.integers(len(totals), size=(BLOCK, len(totals)))
        means[i : i + BLOCK] = totals[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return Rate(float(totals.sum() / counts.sum()), float(low), float(high))
