"""What was measured of one adversarial set, as the report takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.reporting.formats import number

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """The statistics of one attack, and a few of its images to look at.

    mean_* : of the first classes, see `artifacts.statistics.MeanImages`. samples : originals and adversarial images,
    float32 (n, c, h, w) in [0, 1] each, with their labels and target labels.
    """

    examples: pd.DataFrame
    pairs: pd.DataFrame
    pixels: pd.DataFrame
    profile: pd.DataFrame
    mean_originals: Floats
    mean_adversarial: Floats
    mean_perturbations: Floats
    samples: tuple[Floats, Floats, NDArray[np.uint8], NDArray[np.uint8]]


def table_1_rows(columns: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows of Table 1, a column per set: each maps quantity and statistic to a number."""
    return [
        [f"{words}, {statistic}", *(number(column[quantity][statistic]) for column in columns)]
        for quantity, words in (("pixel", "pixel value"), ("l1", "L1 norm"), ("l2", "L2 norm"))
        for statistic in ("mean", "std", "min", "max")
    ]
