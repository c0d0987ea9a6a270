"""What the paper says of the perturbations' structure (Section 2.3), as numbers."""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


# Relative to their size, values that differ by less are equal up to the rounding of float32 pixels (FGSM's all are).
CONSTANT = 1e-5


def class_correlation(mean_perturbations: Images, mean_originals: Images) -> NDArray[np.float64]:
    """How far each pair's mean perturbation is "minus the original class, plus the target class".

    Parameters
    ----------
    mean_perturbations : (k, k, c, h, w), by label and target label.
    mean_originals : (k, c, h, w), mean original image of each class.

    Returns
    -------
    Pearson correlation over pixels between mean_perturbations[i, j] and
    mean_originals[j] - mean_originals[i], (k, k); NaN on the diagonal and for an empty pair.
    """
    # A class at a time: of many classes, all pairs in float64 are several gigabytes.
    rows = zip(mean_perturbations, mean_originals, strict=True)
    return np.stack([row_correlation(perturbations, mean_originals - own) for perturbations, own in rows])


def radial_profile(image: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean value against distance from the center, averaged over channels, in rings one pixel wide.

    image : (c, h, w). Returns the rings' inner radii in pixels and the mean of each ring; rings that
    hold no pixel are left out.
    """
    _, height, width = image.shape
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    ring = distance.astype(int).ravel()
    pixels = np.bincount(ring)
    held = pixels > 0
    sums = np.bincount(ring, image.mean(0, dtype=np.float64).ravel())
    return np.flatnonzero(held).astype(np.float64), sums[held] / pixels[held]


def edge_strength(images: Images) -> Images:
    """Length of the brightness gradient at each pixel, (n, h, w), of images (n, c, h, w)."""
    rows, columns = np.gradient(images.mean(1), axis=(1, 2))
    strength: Images = np.hypot(rows, columns)
    return strength


def row_correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pearson correlation of a[i] with b[i] over all their values, (n,); NaN where one is constant up to rounding."""
    a = a.reshape(len(a), -1).astype(np.float64)
    b = b.reshape(len(b), -1).astype(np.float64)
    least = [CONSTANT * np.linalg.norm(values, axis=1) for values in (a, b)]
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    lengths = [np.linalg.norm(values, axis=1) for values in (a, b)]
    varies = (lengths[0] > least[0]) & (lengths[1] > least[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(varies, (a * b).sum(1) / (lengths[0] * lengths[1]), np.nan)
