"""What the Generative Adversarial Classifier gains over its controls, and how sure that is (paper, Section 3.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.intervals import difference_with_interval

MEAN = -1  # number of "all trainings together"
EACH_CLASS = 2  # generated images that are shown of every class
GAC, CONTROLS = "gac", ("control", "noise_control")
# Clean accuracy that a lambda may cost, against the control: a gain that is paid for with more is no defense's.
ALLOWED_LOSS = 0.01


@dataclass(frozen=True)
class GacTrial:
    """A training at one lambda, judged on adversarial images whose originals no training has seen.

    originals, images : how many, of all targets. accuracy, control_accuracy : means over originals of the share of
    their images that is classified as the original label; gain : their difference, 95 % over originals. unseen : how
    many originals without perturbation, clean_accuracy : of those. perturbation_l2, fooled : what the generator does
    with them. status : "ok", or why the training failed; figures are then empty.
    """

    defense: str
    lambda_: float
    epochs: int
    originals: int
    images: int
    unseen: int
    status: str
    clean_accuracy: float | None = None
    control_clean_accuracy: float | None = None
    accuracy: float | None = None
    control_accuracy: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    perturbation_l2: float | None = None
    fooled: float | None = None


@dataclass(frozen=True)
class Accuracy:
    """One trained model on one kind of image: share classified as the original label.

    seed : number of the training; MEAN: all of them together. part : "seen" and "unseen" by the training, both of the
    train split, and "test". gain : of the GAC over this control, image by image, 95 % over originals; empty for the
    GAC itself. perturbation_l2, fooled : of the GAC on clean images, what its generator does, see `GacEpoch`.
    """

    seed: int
    model: str
    attack: str
    part: str
    images: int
    accuracy: float
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    perturbation_l2: float | None = None
    fooled: float | None = None


@dataclass(frozen=True)
class Needed:
    """What the minimal attack needed against one trained model, from a test original (its row) towards a target.

    seed : number of the training. l2 : of the perturbation, NaN where the attack gave up.
    """

    seed: int
    model: str
    original_row: int
    target_label: int
    l2: float
    steps: int


def compare_accuracy(
    seed: int, attack: str, part: str, right: Mapping[str, NDArray[Any]], originals: NDArray[np.integer[Any]]
) -> list[Accuracy]:
    """A row per model, from which images (n,) each gets right, or from the share of trainings in which it does.

    The GAC is compared with every other.
    """
    rows = []
    for model, correct in right.items():
        gain: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
        if model != GAC:
            difference = difference_with_interval(right[GAC] * 1.0 - correct, originals)
            gain = difference.value, difference.low, difference.high
        rows.append(Accuracy(seed, model, attack, part, len(correct), float(correct.mean()), *gain))
    return rows


def find_changes(
    labels: NDArray[np.uint8],
    before: NDArray[np.integer[Any]],
    after: NDArray[np.integer[Any]],
    kinds: Sequence[tuple[int, int]],
    most: int,
) -> list[int]:
    """Rows of at most `most` images that were classified rightly and no longer are, one of each (before, after).

    First of `kinds`, in that order, those that occur; then of others. All arrays int (n,).
    """
    first: dict[tuple[int, int], int] = {}
    for row in np.flatnonzero((before == labels) & (after != before)).tolist():
        first.setdefault((int(before[row]), int(after[row])), row)
    found = [kind for kind in kinds if kind in first]
    found += [kind for kind in sorted(first) if kind not in found]
    return [first[kind] for kind in found[:most]]
