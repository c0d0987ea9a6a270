"""Success of an attack against the size of its perturbations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.metrics.intervals import mean_with_interval

POINTS = 40  # of a curve that is read off the perturbations' norms


def success_curve(
    fooled: Mapping[float, NDArray[np.bool_]], original_row: NDArray[np.integer[Any]], norm: str
) -> pd.DataFrame:
    """A row per budget: `norm, budget, images, attack_success_rate, low, high` (95 %, over originals)."""
    rows = []
    for budget, values in sorted(fooled.items()):
        rate = mean_with_interval(values, original_row)
        rows.append(
            {
                "norm": norm,
                "budget": budget,
                "images": len(values),
                "attack_success_rate": rate.value,
                "low": rate.low,
                "high": rate.high,
            }
        )
    return pd.DataFrame(rows)


def within_norms(norms: NDArray[np.floating[Any]], fooled: NDArray[np.bool_]) -> dict[float, NDArray[np.bool_]]:
    """For an attack without a budget: which images are fooled by a perturbation no longer than each of some lengths."""
    if not fooled.any():
        return {1.0: fooled}
    lengths = np.unique(np.quantile(norms[fooled], np.linspace(0, 1, POINTS)))
    return {float(length): fooled & (norms <= length) for length in lengths}
