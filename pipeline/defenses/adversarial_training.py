"""Adversarial training

A classifier that learns from adversarial images of itself (Madry et al., 2018). The paper names it as the most popular
method (Section 1.3) and does not run it. With `trades` above zero the loss is that of TRADES (Zhang et al., 2019).
Trained, it predicts in one pass.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.balls import BALLS
from pipeline.defenses.protocol import Defense, Learned, Materials
from pipeline.defenses.undefended import undefended
from pipeline.mapper import Advance, in_order
from pipeline.models.dropout import Switched
from pipeline.models.inference import for_inference
from pipeline.models.modes import frozen
from pipeline.models.outside import Outside
from pipeline.models.precision import Precision, computing_in
from pipeline.ranges import Range
from pipeline.training.classifier import ClassifierTraining, divide, fit_classifier, new_classifier

adversarial_training = undefended
# Images that are attacked together on a CPU: a batch's parts go to the workers. Fixed, for their number changes bytes.
PART = 64


@dataclass(frozen=True, kw_only=True)
class AdversarySettings:
    """How the images that are learned from are made.

    norm, epsilon : the ball around each image. The radius rises linearly to epsilon over the first `warmup` of the
        training: from scratch, a large one teaches nothing but to guess.
    steps, relative_step_size : of the ascent, from a random start; the step's length as a share of the radius.
    trades : 0: cross-entropy on the adversarial images alone (Madry). Above 0: cross-entropy on the images plus so
        many times the divergence of the scores on the adversarial images from those on the images (TRADES, their beta).
    """

    norm: Literal["linf", "l2"]
    epsilon: Annotated[float, Range(0, 1000, low_open=True)]
    steps: Annotated[int, Range(1, 1000)]
    relative_step_size: Annotated[float, Range(0, 2, low_open=True)]
    warmup: Annotated[float, Range(0, 1)]
    trades: Annotated[float, Range(0, 1000)] = 0.0


@dataclass(frozen=True)
class Adversary(AdversarySettings):
    """An objective for `fit_classifier`: the loss on images that projected gradient ascent makes against the model."""

    generator: torch.Generator

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
        radius = self.epsilon * min(1.0, share / self.warmup) if self.warmup else self.epsilon
        attacked = self.attack(model, images, labels, radius)
        logits = model(attacked)
        if not self.trades:
            return functional.cross_entropy(logits, labels), logits
        clean = model(images)
        divergence = functional.kl_div(
            logits.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="batchmean"
        )
        return functional.cross_entropy(clean, labels) + self.trades * divergence, logits

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor, radius: float) -> Tensor:
        """Images (n, c, h, w) within `radius`, in [0, 1], of high loss: the cross-entropy, or TRADES' divergence.

        Against the model in evaluation mode, as it is used; but dropout that `sampling` has switched on, of a network
        that somebody brings, has other masks at each step, which makes the images easier.
        """
        starts = (images + BALLS[self.norm].random(images, radius, self.generator)).clamp_(0, 1)
        precision: Precision = "bfloat16" if torch.is_autocast_enabled(images.device.type) else "float32"
        # A GPU is best filled; and masks that a network draws here come from one generator.
        whole = images.device.type != "cpu" or any(isinstance(m, Switched) and m.rate != 0 for m in model.modules())
        size = len(images) if whole else PART
        split = zip(*(values.split(size) for values in (images, labels, starts)), strict=True)
        # Clones: a part that is sent would take its whole batch along.
        parts = (tuple(map(torch.clone, part)) for part in split)
        settings = self.norm, radius, self.relative_step_size * radius, self.steps, bool(self.trades)
        # A copy with its batch normalization folded gives a seventh more passes; of a foreign network none is folded.
        attacked = model if isinstance(model, Outside) else for_inference(_copied(model), images.device)
        with frozen(attacked):
            task = partial(_climb, attacked, precision, *settings)
            return torch.cat(list(in_order("adversarial images", task, parts)))


def _copied(model: nn.Module) -> nn.Module:
    """A copy with weights of its own, whose masks come from the same generators."""
    generators = [module.generator for module in model.modules() if isinstance(module, Switched)]
    return deepcopy(model, {id(one): one for one in generators})


def _climb(
    model: nn.Module,
    precision: Precision,
    norm: Literal["linf", "l2"],
    radius: float,
    length: float,
    steps: int,
    trades: bool,
    part: tuple[Tensor, Tensor, Tensor],
    advance: Advance,
) -> Tensor:
    """A task of the mapper: up the loss by steps of a length. part : images, their labels, and where to start."""
    images, labels, current = part
    ball = BALLS[norm]
    with computing_in(precision, images.device):
        loss = _divergence(model, images) if trades else _cross_entropy(labels)
        for _ in range(steps):
            _, gradients = score_gradients(model, current, loss)
            moved = current + length * ball.direction(gradients)
            current = (images + ball.project(moved - images, radius)).clamp_(0, 1)
    return current


def _cross_entropy(labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: functional.cross_entropy(logits, labels, reduction="none")


def _divergence(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """From the scores on the images."""
    with torch.no_grad():
        scores = model(images).log_softmax(1)
    return lambda logits: functional.kl_div(logits.log_softmax(1), scores, log_target=True, reduction="none").sum(1)


def learn(materials: Materials, *, adversary: AdversarySettings, training: ClassifierTraining) -> Learned:
    """Train the attacked classifier's network from scratch, on its split, on adversarial images of itself.

    Curves: "train" is on adversarial images, "validation" on plain ones.
    """
    source, key, seed = materials.source, materials.key, materials.seed
    division = divide(*materials.split("train"), materials.held_out, materials.device)
    # Without dropout, where its rate is an argument of that name: the adversary is regularization enough. In evaluation
    # it is the attacked classifier's network.
    architecture = dict(materials.architecture)
    if "dropout" in architecture:
        architecture["dropout"] = 0.0
    names = seed, source, key
    model = new_classifier(division.images, len(materials.class_names), names, materials.build, **architecture)
    objective = Adversary(materials.generator(key, "adversary"), **vars(adversary))
    curves = []
    with materials.progress(training.epochs * len(division.images), "training") as progress:
        for epoch in fit_classifier(
            model, *division, materials.generator(key, "training"), progress.update, objective, **vars(training)
        ):
            curves.append(epoch)
            progress.set_postfix({f"{epoch.split} accuracy": f"{epoch.accuracy:.4f}"}, refresh=False)
    return Learned(models={"": model}, curves=curves)


defense = Defense(predict=adversarial_training, setting="transfer", roles=(), learn=learn)
