"""What a study has stored, for a referee: nothing here is imported from the pipeline."""

import os
from pathlib import Path

import numpy as np
from scipy.stats import t

from tests.root import ROOT

TREE = Path(os.environ.get("REFEREE_TREE", ROOT))


def same(found: float, computed: float) -> bool:
    """Equal to 1e-6, and half a unit of the sixth digit, to which the metrics are written."""
    unit = 10 ** (np.floor(np.log10(abs(computed))) - 5) if computed else 0.0
    return bool(abs(found - computed) <= 1e-6 + unit / 2)


def half_over(means: np.ndarray) -> float:
    """Student's half-width of a 95 % interval of the mean over trainings; of one training none."""
    if len(means) == 1:
        return 0.0
    return float(t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
