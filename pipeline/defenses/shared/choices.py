"""What rules that choose a number share: shares by original, and whether a choice hangs on an original or two."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError

Trial = TypeVar("Trial")
FEW = (-2, -1, 1, 2)  # originals that come out otherwise, with all their images
ROUNDING = 1e-9  # shares nearer than that are equal


def shares_by_original(holds: NDArray[Any], original_row: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """For each of m originals, in order, the share of its rows for which `holds`, (r,), is true: float64 (m,).

    original_row : int (r,), the original of each row.
    """
    inverse = np.unique(original_row, return_inverse=True)[1]
    shares: NDArray[np.float64] = np.bincount(inverse, np.asarray(holds, float)) / np.bincount(inverse)
    return shares


def moved(share: float, originals: int, of: int) -> float:
    """A share, if so many more of so many originals counted; within [0, 1]."""
    return min(1.0, max(0.0, share + originals / of))


def is_narrow(
    choose: Callable[[Sequence[Trial]], float | None],
    trials: Sequence[Trial],
    otherwise: Callable[[Trial, int], Sequence[Trial]],
) -> bool:
    """Whether the choice would be another if one or two originals of one trial had come out otherwise.

    otherwise : (trial, originals) to what the trial would then be, one for each of its figures.
    """
    chosen = choose(trials)
    return any(
        choose([*trials[:place], changed, *trials[place + 1 :]]) != chosen
        for place, trial in enumerate(trials)
        for originals in FEW
        for changed in otherwise(trial, originals)
    )


def settle(given: float | str, value: float | None, where: str, rule: str) -> float:
    """The number given, or for "auto" what the rule chose; PipelineError naming `where` if it chose none."""
    if not isinstance(given, str):
        return given
    if value is None:
        raise PipelineError(f"{where}: auto, but nothing tried meets the rule ({rule}): give a number, or try others")
    return value
