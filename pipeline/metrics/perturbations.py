"""Everything measured about a set of adversarial images, in one pass over its blocks."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.metrics.accumulators import GroupMeanImages, GroupMoments, PixelHistogram
from pipeline.metrics.norms import example_statistics
from pipeline.metrics.structure import class_correlation, edge_strength, radial_profile, row_correlation

Floats = NDArray[np.float32]
Integers = NDArray[np.integer[Any]]
QUANTITIES = ("pixel", "l1", "l2", "linf")
# Bytes of the sums that mean images by pair are made of: of three means, in float64. They grow with the square of the
# number of classes; of too many the pairs of the first ones are averaged. Of 3x224x224 pixels these are 21 classes.
MEMORY, LEAST = 3 << 29, 10


def averaged_classes(classes: int, image_shape: tuple[int, ...]) -> int:
    """Of how many classes, the first ones, there are mean images by pair."""
    return min(classes, max(LEAST, math.isqrt(MEMORY // (3 * 8 * math.prod(image_shape)))))


@dataclass(frozen=True)
class Block:
    """Rows of a set with their logits: float32 images (n, c, h, w) in [0, 1], logits (n, k).

    `first_of_original` marks the first row of each original, so that originals are averaged once.
    """

    images: Floats
    originals: Floats
    labels: Integers
    target_labels: Integers
    is_adversarial: NDArray[np.bool_]
    first_of_original: NDArray[np.bool_]
    logits: Floats
    original_logits: Floats
    noisy_images: Floats
    noisy_logits: Floats


class PerturbationMeasurement:
    """Add the blocks of a set in order, then read the tables.

    Rows that are not adversarial get their row in `add`'s frame and count in the success rate; they
    are left out of everything else.
    """

    def __init__(self, classes: int, image_shape: tuple[int, ...]) -> None:
        self.classes, self.averaged = classes, averaged_classes(classes, image_shape)
        pairs, averages = classes**2, self.averaged**2 + 1  # the last one of all other pairs
        self.tried, self.fooled = np.zeros(pairs, np.int64), np.zeros(pairs, np.int64)
        self.moments = {quantity: GroupMoments(pairs) for quantity in QUANTITIES}
        self.histogram = PixelHistogram()
        self.mean_adversarial = GroupMeanImages(averages, image_shape)
        self.mean_perturbation = GroupMeanImages(averages, image_shape)
        self.mean_size = GroupMeanImages(averages, image_shape)
        self.mean_original = GroupMeanImages(classes, image_shape)

    def add(self, block: Block) -> pd.DataFrame:
        """Take in a block; returns one row of measurements per example, in the block's order."""
        perturbations = block.images - block.originals
        pair = block.labels.astype(np.int64) * self.classes + block.target_labels
        statistics = example_statistics(perturbations)
        fooled = block.is_adversarial
        self.tried += np.bincount(pair, minlength=self.classes**2)
        self.fooled += np.bincount(pair[fooled], minlength=self.classes**2)
        self.moments["pixel"].add(perturbations[fooled], pair[fooled])
        for norm in ("l1", "l2", "linf"):
            self.moments[norm].add(statistics[norm][fooled], pair[fooled])
        self.histogram.add(perturbations[fooled])
        group = self._averages(block.labels, block.target_labels)[fooled]
        self.mean_adversarial.add(block.images[fooled], group)
        self.mean_perturbation.add(perturbations[fooled], group)
        self.mean_size.add(np.abs(perturbations[fooled]), group)
        first = block.first_of_original
        self.mean_original.add(block.originals[first], block.labels[first])

        forward = _norms(block.logits - block.original_logits)
        noise_forward = _norms(block.noisy_logits - block.original_logits)
        noise_backward = _norms(block.noisy_images - block.originals)
        backward = statistics["l2"]
        edges = row_correlation(np.abs(perturbations).mean(1), edge_strength(block.originals))
        with np.errstate(invalid="ignore", divide="ignore"):
            return pd.DataFrame(
                {
                    **statistics,
                    "forward_error": forward,
                    "backward_error": backward,
                    "sensitivity": forward / backward,
                    "noise_forward_error": noise_forward,
                    "noise_sensitivity": noise_forward / noise_backward,
                    "edge_correlation": edges.astype(np.float32),
                }
            )

    def pairs(self) -> pd.DataFrame:
        """One row per (label, target_label), off the diagonal."""
        label, target = np.divmod(np.arange(self.classes**2), self.classes)
        with np.errstate(invalid="ignore"):
            columns: dict[str, Any] = {
                "label": label.astype(np.uint8),
                "target_label": target.astype(np.uint8),
                "count": self.tried,
                "success_rate": self.fooled / self.tried,
            }
        for quantity, moments in self.moments.items():
            columns |= {f"{quantity}_{name}": values for name, values in moments.summary().items()}
        correlations, few = np.full((self.classes, self.classes), np.nan), slice(self.averaged)
        means = self._by_pair(self.mean_perturbation), self.mean_original.mean()[few]
        correlations[few, few] = class_correlation(*means)
        columns["class_correlation"] = correlations.ravel()
        return pd.DataFrame(columns)[label != target].reset_index(drop=True)

    def pixels(self) -> pd.DataFrame:
        """Histogram of the pixel values of all perturbations: `low` <= value < `high`, `count`."""
        edges = self.histogram.edges
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": self.histogram.counts})

    def profile(self) -> pd.DataFrame:
        """Mean |perturbation| of a pixel against its distance from the center, `radius` in pixels."""
        sizes, counts = self.mean_size.total.sum(0), self.mean_size.count.sum()
        radius, size = radial_profile((sizes / max(1, counts)).astype(np.float32))
        return pd.DataFrame({"radius": radius, "mean_absolute_perturbation": size})

    def mean_images(self) -> dict[str, Floats]:
        """The averages by class and by pair, of `averaged_classes`; see `artifacts.statistics.MeanImages`."""
        return {
            "originals": self.mean_original.mean(),
            "adversarial": self._by_pair(self.mean_adversarial),
            "perturbations": self._by_pair(self.mean_perturbation),
            "sizes": self._by_pair(self.mean_size),
        }

    def _averages(self, labels: Integers, target_labels: Integers) -> Integers:
        """For each row the number of the pair that its image is averaged in."""
        within = (labels < self.averaged) & (target_labels < self.averaged)
        pair: Integers = np.where(within, labels.astype(np.int64) * self.averaged + target_labels, self.averaged**2)
        return pair

    def _by_pair(self, means: GroupMeanImages) -> Floats:
        values = means.mean()[:-1]
        by_pair: Floats = values.reshape(self.averaged, self.averaged, *values.shape[1:])
        return by_pair


def _norms(values: Floats) -> Floats:
    flat = values.reshape(len(values), -1)
    norms: Floats = np.sqrt(np.square(flat, dtype=np.float64).sum(1)).astype(np.float32)
    return norms
