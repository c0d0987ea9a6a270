"""How near a method brings an image to its original."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BLUR, NOTHING = "gaussian_blur", "nothing"


@dataclass(frozen=True)
class RestorationError:
    """Mean squared error per pixel to the originals, of one pass over inputs of one kind; mean over originals.

    sigma : of the blur, in pixels; 0 for other methods ("nothing": the inputs as they are). originals : how many; of an
    adversarial kind all of their targets count.
    """

    method: str
    sigma: float
    kind: str
    originals: int
    reconstruction_error: float


def summarize_restorations(errors: Iterable[Mapping[str, Any]], used: float | None = None) -> dict[str, Any]:
    """{method: {kind: error}}, from a mapping per RestorationError; the blur's at sigma `used` alone."""
    table: dict[str, dict[str, float]] = {}
    for row in errors:
        if row["method"] != BLUR or (used is not None and np.isclose(row["sigma"], used)):
            table.setdefault(row["method"], {})[row["kind"]] = float(row["reconstruction_error"])
    return table
