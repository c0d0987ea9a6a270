"""Figures of several trainings of one defense: their mean, and an interval that covers the training too."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.metrics.intervals import Rate, difference_with_interval, mean_with_interval

FEWEST = 3  # trainings: fewer give no verdict on what one trained rival gains over another
LEVEL = 0.05
CERTAIN = 1e-12  # no p below this is told apart from it


def over_trainings(values: NDArray[np.floating[Any]], originals: Rate | None = None, level: float = LEVEL) -> Rate:
    """Mean of one value per training, two or more, with its 95 % interval.

    Student's over the trainings; with `originals`, the 95 % interval of the same mean over the choice of originals, the
    two half-widths are added in squares. level : of an interval of another width, 1 - level; the originals' half-widths
    then grow as those of a normal distribution.
    """
    from scipy.special import ndtri, stdtrit  # here: the report needs no SciPy; `scipy.stats` takes a second to import

    count = len(values)
    mean = float(values.mean())
    half = float(stdtrit(count - 1, 1 - level / 2) * values.std(ddof=1) / np.sqrt(count))
    if originals is None:
        return Rate(mean, mean - half, mean + half)
    wider = float(ndtri(1 - level / 2) / ndtri(1 - LEVEL / 2))
    low, high = (
        float(np.hypot(half, wider * reach))
        for reach in (originals.value - originals.low, originals.high - originals.value)
    )
    return Rate(mean, mean - low, mean + high)


def verdict_of(value: float, p: float) -> str:
    """Of a difference: "gain" or "loss" where p is below 0.05, else "not shown"."""
    return ("gain" if value > 0 else "loss") if p < LEVEL else "not shown"


def p_value(values: NDArray[np.floating[Any]], originals: Rate) -> float:
    """Two-sided p of a mean of differences: the level at which its interval just reaches zero.

    values : a mean per training; one alone: the interval is `originals`, its half-width towards zero that of a normal
    distribution. So p is below 0.05 exactly where the 95 % interval leaves zero out.
    """
    mean = float(values.mean())
    if mean == 0:
        return 1.0

    def reaches(level: float) -> bool:
        of_trainings = values if len(values) > 1 else np.repeat(values, 2)  # no spread, no width of their own
        found = over_trainings(of_trainings, originals, level)
        return found.low <= 0 <= found.high

    low, high = np.log(CERTAIN), 0.0
    if not reaches(CERTAIN):
        return CERTAIN
    for _ in range(60):  # the interval narrows as its level rises
        middle = (low + high) / 2
        low, high = (middle, high) if reaches(float(np.exp(middle))) else (low, middle)
    return float(np.exp(low))


def first_training(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of an evaluation that are of the first training which did not fail."""
    return frame[frame["training"] == frame["training"].min()].reset_index(drop=True)


def by_training(group: pd.DataFrame, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """For each column the values of one set's images, float64 (trainings, images), and "row", "original_row" (images,).

    group : rows of an evaluation, of one `attack` and split. Raises PipelineError unless each training has the same.
    """
    parts = [part for _, part in group.groupby("training", sort=True)]
    first = parts[0]
    for part in parts[1:]:
        if not np.array_equal(part["row"], first["row"]):
            raise PipelineError(f"evaluation of '{first['attack'].iloc[0]}': expected the same images of each training")
    found: dict[str, Any] = {name: np.stack([part[name].to_numpy(float) for part in parts]) for name in columns}
    return found | {name: first[name].to_numpy() for name in ("row", "original_row")}


def mean_rate(values: NDArray[np.float64], originals: NDArray[np.integer[Any]] | None = None) -> Rate:
    """Mean of outcomes in [0, 1], (trainings, images), with its interval: over originals, and trainings if several."""
    found = mean_with_interval(values.mean(0), originals)
    if len(values) == 1:
        return found
    both = over_trainings(values.mean(1), found)
    return Rate(both.value, max(0.0, both.low), min(1.0, both.high))


def mean_difference(differences: NDArray[np.float64], originals: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Mean of differences in [-1, 1], (trainings, images), of two defenses on the same images.

    `value, low, high, originals, trainings`, the interval over originals and, if there are several, trainings; `p`, of
    the exact McNemar test where there is one outcome per original and training, else `p_value`.
    """
    found = difference_with_interval(differences.mean(0), originals)
    about = {"originals": found.originals, "trainings": len(differences)}
    if len(differences) == 1:
        p = p_value(np.array([found.value]), found) if found.p is None else found.p
        return {"value": found.value, "low": found.low, "high": found.high, "p": p, **about}
    means = differences.mean(1)
    both = over_trainings(means, found)
    low, high = max(-1.0, both.low), min(1.0, both.high)
    return {"value": both.value, "low": low, "high": high, "p": p_value(means, found), **about}
