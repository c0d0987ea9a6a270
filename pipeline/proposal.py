"""The numbers of a new study that fit its images: how many are attacked, how long is trained, what change is small."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts.raw.wanted import SMALLEST
from pipeline.errors import PipelineError
from pipeline.study_blocks import ALL

LARGEST = 96  # pixels a side; larger images are proposed to be resized to
RESIZED = 64
BROUGHT = 224  # images of several sizes, for a classifier that is brought: what most are trained on
ATTACKED = {"train": 3000, "test": 1000}  # adversarial images: as many as the demo's
# Of more classes each original is attacked towards few of the others: intervals are over originals, of which there are
# more then. Of so many classes figures show all pairs (`reporting/style.py`).
MOST_CLASSES, TARGETS = 20, 3
LOOKED_AT = 60_000  # training images over all epochs, within 8 to 40 of these
UPDATES = 60  # of weights, in a short training of an autoencoder: after half as many it restores nothing
CLASSIFIER = (32, 64, 128)  # one block per halving that the image has room for


@dataclass(frozen=True)
class Shape:
    """What the images will be: the proposed `size` and `channels` in the params, if they need any; the shape then."""

    size: tuple[int, int] | None
    channels: int | None
    shape: tuple[int, int, int]


def shape_for(sizes: Mapping[tuple[int, int], int], channels: Mapping[int, int], brought: bool = False) -> Shape:
    """The images' own shape; images of several sizes, or large ones, are resized; gray ones among RGB become RGB.

    The proposed size is the median of either side, in multiples of four that a network can halve, at most 64
    long, or 224 for a classifier that is brought.
    brought : the classifier is; it takes images of its own size: large ones of one size stay as they are.

    Raises PipelineError if all are of one size that is too small.
    """
    most = max(channels)
    (height, width), several = _median(sizes), len(sizes) > 1
    if not several and min(height, width) < SMALLEST:
        raise PipelineError(
            f"expected images of {SMALLEST}x{SMALLEST} pixels at least, found {height}x{width}: enlarge them first"
        )
    if not several and (brought or max(height, width) <= LARGEST):
        return Shape(None, most if len(channels) > 1 else None, (most, height, width))
    scale = min(1.0, (BROUGHT if brought else RESIZED) / max(height, width))
    size = max(SMALLEST, 4 * round(height * scale / 4)), max(SMALLEST, 4 * round(width * scale / 4))
    return Shape(size, most if len(channels) > 1 else None, (most, *size))


def _median(sizes: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    sides = []
    for axis in (0, 1):
        every = sorted(size[axis] for size, count in sizes.items() for _ in range(count))
        sides.append(every[len(every) // 2])
    return sides[0], sides[1]


def numbers(shape: tuple[int, int, int], names: tuple[str, ...], counts: Mapping[str, list[int]]) -> dict[str, Any]:
    """By dotted key what differs from the study to start from; of the size of the demo, to be raised by hand.

    Raises PipelineError if a class has too few images.
    """
    channels, height, width = shape
    classes, side = len(names), min(height, width)
    gray, pixels = channels == 1, height * width
    for split, least in (("train", 20), ("test", 2)):
        few = [f"{name} {count}" for name, count in zip(names, counts[split], strict=True) if count < least]
        if few:
            raise PipelineError(f"expected {least} {split} images of each class at least, found: {', '.join(few[:8])}")
    targets, towards = (TARGETS, TARGETS) if classes > MOST_CLASSES else (ALL, classes - 1)
    # A class gives half of its images at most: those that are classified wrongly are not attacked.
    each = {
        split: max(1, min(min(counts[split]) // 2, round(most / (classes * towards))))
        for split, most in ATTACKED.items()
    }
    fewer = max(1, each["test"] // 3) * classes
    linf, l2 = (0.3 if side >= 16 else 0.2) if gray else 8 / 255, (3 if gray else 1) * math.sqrt(pixels / 784)
    halvings = min(len(CLASSIFIER), int(math.log2(side)) - 1)
    channels_of = list(CLASSIFIER[: max(2, halvings)])
    images = sum(counts["train"])
    epochs = min(40, max(8, round(LOOKED_AT / images)))
    return {
        "classifier.architecture.channels": channels_of,
        "classifier.training.epochs": epochs,
        "training.shift": max(1, side // 12),
        "training.batch_size": 32 if images < 1000 else 64 if images < 10_000 else 128,
        "sources.train": each["train"] * classes,
        "sources.test": each["test"] * classes,
        "sources.targets": targets,
        "threat.linf.epsilon": rounded(linf),
        "threat.linf.epsilons": [rounded(share * linf) for share in (0.25, 0.5, 1, 2)],
        "threat.l2.epsilon": rounded(l2),
        "threat.l2.epsilons": [rounded(share * l2) for share in (0.25, 0.5, 1, 1.5)],
        # Wide: a step is as long as the gradient, which nobody knows before the classifier is trained.
        "attack_trials.step_sizes": [0.16 / 2**power for power in range(10)],
        "attack_trials.max_steps": 1000,
        "attack_trials.targets": targets,
        "attacks.minimal.max_steps": 2000,
        "other_sources.test": fewer,
        "other_sources.curve": fewer,
        "other_sources.targets": targets,
        "replicates.sources.train": min(each["train"], max(1, 60 // classes)) * classes,
        "replicates.sources.test": min(each["test"], max(1, 30 // classes)) * classes,
        "replicates.sources.targets": targets,
        "sizes.classifiers.narrow.channels": [width // 4 for width in channels_of],
        "sizes.classifiers.standard.channels": channels_of,
        "sizes.classifiers.twin.channels": channels_of,
        "sizes.training.epochs": epochs,
        "sizes.originals": min(max(1, 20 // classes), max(1, min(counts["test"]) // 4)) * classes,
        "sizes.targets": targets,
    }


def longer(epochs: int, images: int) -> int:
    """Epochs of a defense's training, so many on the demo's images: more, at most eight times, on fewer images."""
    return epochs * min(8, max(1, round(1400 / images)))


def long_enough(originals: int, values: Mapping[str, Any], classes: int) -> int:
    """Epochs of a short training on the paper's two sets of so many originals: UPDATES at least.

    values : as `numbers` gives them.
    """
    towards = classes - 1 if values["sources.targets"] == ALL else values["sources.targets"]
    updates: float = 2 * min(originals, values["sources.train"]) * towards / values["training.batch_size"]
    return max(1, math.ceil(UPDATES / updates))


def rounded(value: float) -> float:
    """To three figures."""
    return float(f"{value:.3g}")
