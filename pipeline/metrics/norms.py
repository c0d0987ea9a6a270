"""Size of perturbations, per example: NumPy in, NumPy out."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def example_statistics(perturbations: Floats) -> dict[str, Floats]:
    """Statistics of each perturbation x' - x, float32 (n, c, h, w), pixels in [0, 1].

    Returns float32 (n,) arrays: `pixel_mean, pixel_std, pixel_min, pixel_max` over the values of one
    image, and the norms `l0` (number of values that differ), `l1`, `l2`, `linf`.
    """
    flat = perturbations.reshape(len(perturbations), -1)
    size = np.abs(flat)
    # Sums in float64: 3,072 small float32 values lose digits otherwise.
    return {
        "pixel_mean": flat.mean(1, dtype=np.float64).astype(np.float32),
        "pixel_std": flat.std(1, dtype=np.float64).astype(np.float32),
        "pixel_min": flat.min(1),
        "pixel_max": flat.max(1),
        "l0": np.count_nonzero(flat, axis=1).astype(np.float32),
        "l1": size.sum(1, dtype=np.float64).astype(np.float32),
        "l2": np.sqrt(np.square(flat, dtype=np.float64).sum(1)).astype(np.float32),
        "linf": size.max(1),
    }
