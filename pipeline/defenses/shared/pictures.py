"""Images that a defense leaves for the report: dataclasses of arrays, and of names as tuples of texts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Generated:
    """e images and m generators, named by `names`: originals float32 (e, c, h, w), labels uint8 (e,), generated
    float32 (m, e, c, h, w); the classes that each generator's own classifier predicts, uint8 (m, e)."""

    names: tuple[str, ...]
    originals: NDArray[np.float32]
    labels: NDArray[np.uint8]
    generated: NDArray[np.float32]
    predicted_before: NDArray[np.uint8]
    predicted_after: NDArray[np.uint8]


@dataclass(frozen=True)
class Restorations:
    """e originals, s kinds of input made from each ("clean" is the original itself), m methods.

    labels and target_labels uint8 (e,); inputs float32 (s, e, c, h, w); restored (m, s, e, c, h, w), one pass each.
    """

    kinds: tuple[str, ...]
    methods: tuple[str, ...]
    labels: NDArray[np.uint8]
    target_labels: NDArray[np.uint8]
    inputs: NDArray[np.float32]
    restored: NDArray[np.float32]
