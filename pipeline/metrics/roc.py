"""ROC curves of scores: their areas and true positive rates, with intervals by bootstrap over originals."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError

FALSE_POSITIVE_RATES = (0.01, 0.05)
RESAMPLES = 1000
BLOCK = 250
CELL = 0.001  # a ROC curve is stored to within this distance

Values = NDArray[Any]


class Detector:
    """ROC curve of scores that are high where an image looks adversarial. Equal scores stand or fall together."""

    def __init__(self, positives: Values, negatives: Values) -> None:
        values, place = np.unique(np.r_[positives, negatives], return_inverse=True)
        # Highest score first.
        self._place = (len(values) - 1 - place).astype(np.int64)
        self._count = len(values)
        self._split = len(positives)

    def roc(
        self, positive_weights: Values | None = None, negative_weights: Values | None = None
    ) -> tuple[Values, Values]:
        """False and true positive rates at every threshold, from (0, 0) to (1, 1); a weight per image, or all alike."""
        rates = []
        for place, weights in (
            (self._place[self._split :], negative_weights),
            (self._place[: self._split], positive_weights),
        ):
            found = np.cumsum(np.bincount(place, weights, self._count))
            rates.append(np.r_[0, found / found[-1]])
        return rates[0], rates[1]


def measure(fpr: Values, tpr: Values) -> dict[str, float]:
    """Area under a ROC curve, and its true positive rates at false positive rates of at most 1 % and 5 %."""
    found = {"auc": float(np.trapezoid(tpr, fpr))}
    for limit in FALSE_POSITIVE_RATES:
        found[f"tpr_at_fpr_{limit:.2f}"] = float(tpr[np.searchsorted(fpr, limit, side="right") - 1])
    return found


def detection(
    positives: Values,
    negatives: Values,
    positive_groups: Values,
    negative_groups: Values,
    same_originals: bool,
) -> dict[str, float]:
    """`measure` with 95 % intervals by bootstrap over originals, `<name>_low` and `<name>_high`.

    positives, negatives : scores, (n,) each. positive_groups, negative_groups : the original of each.
    same_originals : both number the same originals, which are then drawn together.
    Raises PipelineError if a score is no number.
    """
    return with_intervals(
        measure(*Detector(positives, negatives).roc()),
        resampled(positives, negatives, positive_groups, negative_groups, same_originals),
    )


def resampled(
    positives: Values, negatives: Values, positive_groups: Values, negative_groups: Values, same_originals: bool
) -> dict[str, Values]:
    """What `measure` finds in each of RESAMPLES resamples of originals, (resamples,) each.

    The originals drawn depend on nothing but their number: of two defenses judged on the same images, resample i is the
    same in both. A resample without any positive or negative is NaN. Raises PipelineError if a score is no number.
    """
    for name, scores in (("adversarial", positives), ("other", negatives)):
        bad = int(np.isnan(scores).sum())
        if bad:
            raise PipelineError(f"scores of {name} images: {bad} of {len(scores)} are no numbers")
    if same_originals:
        ids, place = np.unique(np.r_[positive_groups, negative_groups], return_inverse=True)
        places = place[: len(positives)], place[len(positives) :]
        drawn = _drawn(len(ids), 0), _drawn(len(ids), 0)
    else:
        (one, first), (other, second) = (
            np.unique(groups, return_inverse=True) for groups in (positive_groups, negative_groups)
        )
        places, drawn = (first, second), (_drawn(len(one), 0), _drawn(len(other), 1))
    levels, level = np.unique(negatives, return_inverse=True)
    # Between which of the negatives' scores a positive lies: 2 k + 1 on the k-th, 2 k just below it.
    where = np.searchsorted(levels, positives) + np.searchsorted(levels, positives, side="right")
    bins, bin_ = np.unique(where, return_inverse=True)
    by_bin = _sums(bin_, places[0], len(bins), len(drawn[0][0]))
    by_level = _sums(level, places[1], len(levels), len(drawn[1][0]))
    parts = [_measured(by_bin @ one, by_level @ other, bins) for one, other in zip(*drawn, strict=True)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measured(found: Values, others: Values, bins: Values) -> dict[str, Values]:
    """`measure` in each resample, from positives by bin, (bins, resamples), and negatives by level."""
    below = np.zeros((len(others) + 1, others.shape[1]), found.dtype)  # negatives of lower levels
    np.cumsum(others, axis=0, out=below[1:])
    count, total = found.sum(0, dtype=float), below[-1].astype(float)
    count[count == 0], total[total == 0] = np.nan, np.nan
    # A positive outdoes the negatives below it and half of those beside it.
    half = below[bins // 2]
    half += below[(bins + 1) // 2]
    measured = {"auc": np.einsum("ij,ij->j", found, half) / (2 * count * total)}
    for limit in FALSE_POSITIVE_RATES:
        # The lowest level down to which all may be called adversarial; what is caught lies above the one before.
        start, stop = 0, len(below) - 1  # no resample's is below start
        while start < stop:
            middle = (start + stop) // 2
            if ((total - below[middle]) / total <= limit).any():
                stop = middle
            else:
                start = middle + 1
        lowest = start + ((total - below[start:]) / total > limit).sum(0)
        first = int(np.searchsorted(bins, 2 * start))
        caught = np.zeros((len(bins) - first + 1, len(count)))
        np.cumsum(found[first:][::-1], axis=0, out=caught[1:])
        above = len(bins) - np.searchsorted(bins, 2 * lowest)
        measured[f"tpr_at_fpr_{limit:.2f}"] = caught[above, np.arange(len(count))] / count
    return measured


def thinned(fpr: Values, tpr: Values) -> tuple[Values, Values]:
    """Vertices of a ROC curve, as few as draw the same line to within CELL.

    Of the vertices within a square of side CELL the first and the last stay, and of those on a straight line its ends:
    the curve rises from corner to corner of the square, and no point of it is as far as CELL from the line between.
    """
    cell = np.floor(np.c_[fpr, tpr] / CELL).astype(np.int64)
    new = np.r_[True, (cell[1:] != cell[:-1]).any(1), True]
    keep = new[:-1] | new[1:]
    fpr, tpr = fpr[keep], tpr[keep]
    turn = np.diff(fpr)[:-1] * np.diff(tpr)[1:] != np.diff(fpr)[1:] * np.diff(tpr)[:-1]
    keep = np.r_[True, turn, True]
    return fpr[keep], tpr[keep]


def with_intervals(found: dict[str, float], again: Mapping[str, Values]) -> dict[str, float]:
    """`<name>_low` and `<name>_high` of each figure from its resamples."""
    for name in list(found):
        low, high = np.nanquantile(again[name], [0.025, 0.975])
        found[f"{name}_low"], found[f"{name}_high"] = float(low), float(high)
    return found


@functools.lru_cache(maxsize=8)
def _drawn(count: int, stream: int) -> list[Values]:
    """How often each of `count` originals is drawn in each resample, float32 (count, BLOCK) each: whole, so exact.

    As many resamples at a time as a processor's cache holds the sums of.
    """
    random = np.random.default_rng(stream)
    blocks = []
    for _ in range(0, RESAMPLES, BLOCK):
        draws = random.integers(count, size=(BLOCK, count)) + count * np.arange(BLOCK)[:, None]
        counts = np.bincount(draws.ravel(), minlength=BLOCK * count).reshape(BLOCK, count)
        blocks.append(np.ascontiguousarray(counts.T, np.float32))
    return blocks


def _sums(target: Values, original: Values, count: int, originals: int) -> Any:
    """The sparse matrix that sums over the images of each target how often their originals were drawn."""
    from scipy.sparse import csr_matrix  # here: a fifth of a second

    ones = np.ones(len(target), np.float32)
    return csr_matrix((ones, (target, original)), shape=(count, originals))
