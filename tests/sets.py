"""A small adversarial set with known content."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.adversarial import Identity, Sources, write_adversarial
from pipeline.metrics.sources import every_target

NAMES = ("a", "b", "c")


def make_set(path: Path) -> tuple[Sources, NDArray[np.float32], NDArray[np.float32]]:
    """Six 4x4 originals of three classes, 12 rows; every fourth row is not fooled.

    Returns the sources, the images and the margins that the file holds.
    """
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 0, 1, 2], np.uint8)
    rows, targets = every_target(labels, 3)
    sources = Sources(
        originals=random.integers(0, 256, (6, 1, 4, 4), np.uint8),
        source_split=np.array([0, 0, 0, 1, 1, 1], np.uint8),
        source_index=np.array([4, 2, 0, 1, 3, 5], np.int32),
        original_row=rows,
        labels=labels[rows],
        target_labels=targets,
    )
    images = random.uniform(size=(12, 1, 4, 4)).astype(np.float32)
    margins = np.where(np.arange(12) % 4 == 3, -1, 1).astype(np.float32)
    write_adversarial(
        path,
        Identity("toy", "minimal", {"step_size": 0.1}, NAMES, 0),
        sources,
        [(slice(0, 7), images[:7], np.arange(7, dtype=np.int16)), (slice(7, 12), images[7:], np.zeros(5, np.int16))],
        lambda stored, targets: margins,
    )
    return sources, images, margins
