"""Training of the Generative Adversarial Classifier, beside its controls (paper, Section 3.3)."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import PipelineError
from pipeline.metrics.gains import CONTROLS, GAC
from pipeline.metrics.noise import add_noise_of_norm
from pipeline.models.classifier import NormalizingClassifier
from pipeline.models.cnn import Classifier
from pipeline.models.generators import DcganGenerator, Generator, VanillaGenerator
from pipeline.models.inference import place, predict, to_unit_interval
from pipeline.models.mlp import FullyConnectedClassifier
from pipeline.models.modes import evaluation_mode, frozen
from pipeline.randomness import seeded_initialization
from pipeline.ranges import Range
from pipeline.training.batches import batch_count, in_batches
from pipeline.training.classifier import channel_statistics
from pipeline.training.gac_losses import classifier_loss, generator_loss

# By version: the classes of the generator and of the classifiers, both built from an image's shape and their widths.
CLASSES: dict[str, tuple[Callable[..., Generator], Callable[..., NormalizingClassifier], str]] = {
    "vanilla": (VanillaGenerator, FullyConnectedClassifier, "hidden"),
    # Without dropout: it would not be switched on.
    "dcgan": (DcganGenerator, partial(Classifier, dropout=0.0), "channels"),
}
CONTROL, NOISE = CONTROLS
NOISE_ROUNDS = 4  # of `add_noise_of_norm`: within a few percent of the norm, at a third of the time


@dataclass(frozen=True, kw_only=True)
class GacTraining:
    """The arguments of `fit_gac` but for lambda, as a block within what a defense learns by."""

    epochs: Annotated[int, Range(1, 1000)]
    batch_size: Annotated[int, Range(2, 65536)]
    learning_rate: Annotated[float, Range(0, 1, low_open=True)]
    generator_learning_rate: Annotated[float, Range(0, 1, low_open=True)]


@dataclass(frozen=True)
class Widths:
    """Of a version's generator and classifiers: units of hidden layers ("vanilla"), or channels ("dcgan")."""

    version: str
    generator: tuple[int, ...]
    classifier: tuple[int, ...]


class TrainingFailed(PipelineError):
    """A training that came to nothing: a loss that is no number, or a classifier that guesses."""


@dataclass(frozen=True)
class Sample:
    """Images that a training is watched on: uint8 or float (n, c, h, w), labels int64 (n,), on the models' device.

    generated : whether the generator is tried on them too.
    """

    images: Tensor
    labels: Tensor
    generated: bool


@dataclass(frozen=True)
class GacEpoch:
    """One model on one sample after an epoch: mean cross-entropy, accuracy; of the GAC also what its generator does.

    perturbation_l2 : mean ||G(x) - x||_2. fooled : share of the images that C classifies rightly, but not G of them.
    """

    epoch: int
    split: str
    loss: float
    accuracy: float
    model: str
    seed: int
    perturbation_l2: float | None
    fooled: float | None


@dataclass(frozen=True)
class Contestants:
    """A generator, and the classifiers by name: "gac", and of "control" and "noise_control" those that are wanted."""

    generator: Generator
    classifiers: Mapping[str, NormalizingClassifier]


def new_contestants(
    widths: Widths,
    images: Tensor,
    class_count: int,
    names: tuple[int, *tuple[str | int, ...]],
    wanted: tuple[str, ...] = (GAC, CONTROL, NOISE),
) -> Contestants:
    """Untrained models on the device of uint8 `images` (n, c, h, w), normalized by them; the classifiers are equal.

    names : seed the weights.
    """
    new_generator, new_classifier, argument = CLASSES[widths.version]
    channels, height, width = images.shape[1:]
    shape = channels, height, width
    with seeded_initialization(*names, "generator"):
        attacker = place(new_generator(shape, **{argument: widths.generator}), images.device)
    classifiers = {}
    for name in wanted:
        with seeded_initialization(*names, "classifier"):
            classifiers[name] = new_classifier(shape, class_count, **{argument: widths.classifier})
        classifiers[name].set_normalization(*channel_statistics(images))
        place(classifiers[name], images.device)
    return Contestants(attacker, classifiers)


def fit_gac(
    contestants: Contestants,
    images: Tensor,
    labels: Tensor,
    samples: Mapping[str, Sample],
    seed: int,
    order: torch.Generator,
    noise: torch.Generator,
    advance: Callable[[int], object] = lambda count: None,
    *,
    epochs: Annotated[int, Range(1, 1000)],
    batch_size: Annotated[int, Range(2, 65536)],
    learning_rate: Annotated[float, Range(0, 1, low_open=True)],
    generator_learning_rate: Annotated[float, Range(0, 1, low_open=True)],
    lambda_: Annotated[float, Range(0, 10000)],
) -> Iterator[GacEpoch]:
    """Train all contestants in place, batch by batch the same images, and yield their figures after each epoch.

    For each batch the generator takes a step against the GAC's classifier as that is used (evaluation mode); then the
    classifier takes one on the images and on what the generator now makes of them. The control takes one on the images
    alone, the noise control on them and on images with noise of the same L2 norm as the generator's perturbation of
    each. Adam, whose steps do not depend on the loss's scale: seeing everything twice is no larger learning rate. The
    rates fall linearly to zero.

    Parameters
    ----------
    images, labels : uint8 (n, c, h, w) and int64 (n,), on the models' device.
    samples : what to report on, by name. seed : the training's number, reported with each figure.
    order, noise : random numbers on the same device: of the batches, and of the noise control.
    advance : called with the number of images after each batch.
    lambda_ : weight of the squared L2 norm, see `gac_losses`.

    Raises TrainingFailed if a loss is no number any more or a classifier guesses after an epoch.
    """
    generator, classifiers = contestants.generator, contestants.classifiers
    gac = classifiers[GAC]
    total = epochs * batch_count(len(images), batch_size)
    optimizers = {
        name: torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True) for name, model in classifiers.items()
    }
    # The momentum of DC-GAN (Radford et al., 2016).
    attacker = torch.optim.Adam(generator.parameters(), lr=generator_learning_rate, betas=(0.5, 0.999), fused=True)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
        for optimizer in (attacker, *optimizers.values())
    ]

    def descend(name: str, loss: Tensor) -> None:
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()

    for epoch in range(1, epochs + 1):
        losses = torch.zeros((), device=images.device)
        for model in (generator, *classifiers.values()):
            model.train()
        taken = torch.randperm(len(images), generator=order, device=images.device)
        for rows in in_batches(taken, batch_size):
            originals, truth = to_unit_interval(images[rows], gac), labels[rows]
            with frozen(gac):
                generated = generator(originals)
                loss = generator_loss(gac(generated), truth, generated, originals, lambda_)
                attacker.zero_grad()
                loss.backward()
                attacker.step()
            losses += loss.detach()
            with torch.no_grad():
                generated = generator(originals)
            descend(GAC, classifier_loss(gac(originals), gac(generated), truth))
            if control := classifiers.get(CONTROL):
                descend(CONTROL, functional.cross_entropy(control(originals), truth))
            if control := classifiers.get(NOISE):
                norms = (generated - originals).flatten(1).norm(dim=1)
                noisy = add_noise_of_norm(originals, norms, noise, NOISE_ROUNDS)
                descend(NOISE, classifier_loss(control(originals), control(noisy), truth))
            for schedule in schedules:
                schedule.step()
            advance(len(rows))
        if not math.isfinite(losses.item()):
            raise TrainingFailed(f"diverged in epoch {epoch}: a loss is no number; lower the learning rates")
        for split, sample in samples.items():
            for name, model in classifiers.items():
                figures = _watch(name, model, generator, sample)
                if not math.isfinite(figures[0]):
                    raise TrainingFailed(f"diverged in epoch {epoch}: the loss of {name} is no number")
                if split == "train" and (epoch > 1 or epoch == epochs) and figures[1] < _guess(model):
                    raise TrainingFailed(f"collapsed in epoch {epoch}: {name} gets {figures[1]:.1%} right, a guess")
                yield GacEpoch(epoch, split, figures[0], figures[1], name, seed, *figures[2:])


def generate(generator: Generator, images: Tensor, batch_size: int = 256) -> Tensor:
    """G(x), float (n, c, h, w), of uint8 or float images, in evaluation mode."""
    with evaluation_mode(generator):
        return predict(generator, images, batch_size)


def _watch(
    name: str, model: NormalizingClassifier, generator: Generator, sample: Sample
) -> tuple[float, float, float | None, float | None]:
    """Loss, accuracy, and of the GAC the generator's mean L2 norm and the share of images it fools C with."""
    with evaluation_mode(model):
        logits = predict(model, sample.images, 256)
        loss = functional.cross_entropy(logits, sample.labels).item()
        right = logits.argmax(1) == sample.labels
        accuracy = right.float().mean().item()
        if name != GAC or not sample.generated:
            return loss, accuracy, None, None
        return loss, accuracy, *deceive(generator, model, sample, right)


def deceive(generator: Generator, classifier: nn.Module, sample: Sample, right: Tensor) -> tuple[float, float]:
    """Mean ||G(x) - x||_2, and of the images that C gets `right`, bool (n,), the share that G fools it with."""
    generated = generate(generator, sample.images)
    with evaluation_mode(classifier):
        wrong = predict(classifier, generated, 256).argmax(1) != sample.labels
    l2 = (generated - to_unit_interval(sample.images, classifier)).flatten(1).norm(dim=1).mean().item()
    right = right.to(wrong.device)
    return l2, (wrong & right).sum().item() / max(1, int(right.sum()))


def _guess(model: nn.Module) -> float:
    """The accuracy below which a classifier guesses: twice chance, or of few classes a ninth of the way to 1."""
    last = list(model.modules())[-1]
    assert isinstance(last, nn.Linear)
    chance = 1 / last.out_features
    return min(2 * chance, chance + (1 - chance) / 9)
