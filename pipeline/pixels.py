"""Bytes to [0, 1] where there are arrays instead of tensors; `models/pixels.py` does the same on any device."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 3 * 64 * 64  # values of an image; of those with more, fewer are held at a time
UNIT_VALUES = np.arange(256, dtype=np.float32) / np.float32(255)


def unit_interval(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 images, of any shape, divided by 255: float32 in [0, 1]."""
    scaled: NDArray[Any] = UNIT_VALUES[images]
    return scaled
