"""Images that a GAC learns from, is watched on and is judged on, and which of them a model gets right."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.defenses.protocol import Materials, Rows
from pipeline.metrics.splits import training_mask
from pipeline.models.inference import predict
from pipeline.models.modes import evaluation_mode
from pipeline.models.pixels import unit_interval
from pipeline.ranges import Range
from pipeline.study_blocks import PAPER_ATTACKS
from pipeline.training.gac import Sample

Share = Annotated[float, Range(0, 0.9, low_open=True)]

PARTS = ("seen", "unseen", "test")
WATCHED = 2000  # images of each kind that the learning curves are measured on


@dataclass(frozen=True)
class Contest:
    """The train split as a training sees it: those images that it learns from, and those that it does not."""

    training: Sample
    unseen: Sample
    seen: NDArray[np.bool_]  # of the train split
    class_count: int


def names_of(materials: Materials) -> tuple[int, str, str]:
    """By which its random numbers are named: seed, source, family."""
    return materials.seed, materials.source, materials.key


def open_contest(materials: Materials, share: float) -> Contest:
    """The train split divided by `training_mask`, on the device."""
    images, labels = materials.split("train")
    seen = training_mask(labels, materials.seed, materials.source, share)
    learned, unseen = (sample_of(materials, images[mask], labels[mask], generated=True) for mask in (seen, ~seen))
    return Contest(learned, unseen, seen, len(materials.class_names))


def sample_of(materials: Materials, images: NDArray[Any], labels: NDArray[Any], generated: bool) -> Sample:
    """Images and labels of a split, on the device."""
    placed = torch.from_numpy(images).to(materials.device), torch.from_numpy(labels).to(materials.device, torch.int64)
    return Sample(*placed, generated=generated)


def rows_of(materials: Materials, attack: str, seen: NDArray[np.bool_], part: str) -> Rows:
    """Rows of a set whose originals are of one of PARTS."""
    if part == "test":
        return materials.rows(attack, split="test")
    return materials.rows(attack, seen if part == "seen" else ~seen)


def attacked(materials: Materials, rows: Rows, chosen: Tensor | None = None) -> Sample:
    """Adversarial images, all or those chosen, on the device."""
    kept = slice(None) if chosen is None else chosen
    images, labels = (values[kept].to(materials.device) for values in (rows.images, rows.labels))
    return Sample(images, labels, generated=False)


def watched(materials: Materials, contest: Contest) -> dict[str, Sample]:
    """At most WATCHED images each: of "train" those seen, of "test", and adversarial ones of both.

    Nothing is chosen by those of the test split.
    """
    random = materials.random("gac", "watched")

    def some(total: int) -> Tensor:
        return torch.from_numpy(np.sort(random.permutation(total)[:WATCHED]))

    learned, (images, labels) = contest.training, materials.split("test")
    chosen = some(len(learned.labels)).to(materials.device)
    samples = {"train": Sample(learned.images[chosen], learned.labels[chosen], generated=True)}
    rows = some(len(labels)).numpy()
    samples["test"] = sample_of(materials, images[rows], labels[rows], generated=True)
    for name, part in (("adversarial_train", "seen"), ("adversarial_test", "test")):
        found = rows_of(materials, "minimal", contest.seen, part)
        samples[name] = attacked(materials, found, some(len(found.labels)))
    return samples


def judged(materials: Materials, contest: Contest) -> Iterator[tuple[str, str, Sample, NDArray[np.integer[Any]]]]:
    """All there is: attack ("clean" first), part, images, and the original that each image comes from."""
    test = sample_of(materials, *materials.split("test"), generated=True)
    for part, sample in zip(PARTS, (contest.training, contest.unseen, test), strict=True):
        yield "clean", part, sample, np.arange(len(sample.labels))
    for attack in PAPER_ATTACKS:
        for part in PARTS:
            rows = rows_of(materials, attack, contest.seen, part)
            if len(rows.labels):
                yield attack, part, attacked(materials, rows), rows.original_row.numpy()


def predicted(model: nn.Module, images: Tensor) -> NDArray[np.int64]:
    """The classes, int64 (n,), that a classifier predicts for images (n, c, h, w), in evaluation mode."""
    with evaluation_mode(model):
        classes: NDArray[np.int64] = predict(model, images, 256).argmax(1).cpu().numpy()
    return classes


def right(model: nn.Module, sample: Sample) -> NDArray[np.bool_]:
    """Which images of a sample get their label, bool (n,)."""
    return np.asarray(predicted(model, sample.images) == sample.labels.cpu().numpy())


def as_floats(images: Tensor) -> NDArray[np.float32]:
    """uint8 images in [0, 1]."""
    floats: NDArray[np.float32] = unit_interval(images).cpu().numpy()
    return floats
