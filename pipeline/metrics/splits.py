"""Which images of the training split are kept for validation."""

import numpy as np
from numpy.typing import NDArray

from pipeline.randomness import derive_seed

VALIDATION_SHARE = 0.1
# Of the rows of an evaluation: what is reported, and what is chosen on, which is of the train split.
TEST_SPLIT, VALIDATION = "test", "validation"


def validation_mask(labels: NDArray[np.uint8], seed: int, dataset: str) -> NDArray[np.bool_]:
    """True for the tenth of the training split that hyper-parameters are chosen on, class by class.

    A function of (labels, seed, dataset) alone, so that every stage that trains or chooses anything
    holds out the same images.
    """
    random = np.random.default_rng(derive_seed(seed, dataset, "validation"))
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        mask[random.permutation(rows)[: round(len(rows) * VALIDATION_SHARE)]] = True
    return mask


def training_mask(labels: NDArray[np.uint8], seed: int, dataset: str, share: float) -> NDArray[np.bool_]:
    """True for `share` of the training split, at most 0.9, class by class, and for no validation image.

    What is left out is as unseen by a training on the rest as the validation images.
    """
    held_out = validation_mask(labels, seed, dataset)
    random = np.random.default_rng(derive_seed(seed, dataset, "training share"))
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & ~held_out)
        mask[random.permutation(rows)[: round((labels == label).sum() * share)]] = True
    return mask
