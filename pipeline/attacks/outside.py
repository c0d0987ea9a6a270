"""Attacks of torchattacks (https://github.com/Harry24k/torchattacks), untargeted, inside a given ball.

What our own white-box attack is held against: a gradient-free one, and the ensemble of AutoAttack.
"""

from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from pipeline.models.modes import frozen
from pipeline.randomness import draw_seed, seeded_globally

NORMS = {"linf": "Linf", "l2": "L2"}


def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    norm: str,
    epsilon: float,
    queries: int,
) -> Tensor:
    """Square (Andriushchenko et al., 2020): random search by scores alone, at most `queries` of them an image.

    model : images (n, c, h, w) in [0, 1] to logits (n, k). Returns images of the same shape, within the ball.
    """
    outer = Contiguous(model)
    about: dict[str, Any] = {"norm": NORMS[norm], "eps": epsilon, "seed": draw_seed(generator)}
    with frozen(outer), seeded_globally(generator):
        return _run(torchattacks.Square(outer, n_queries=queries, **about), images, labels)


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    norm: str,
    epsilon: float,
    steps: int,
    queries: int,
    randomized: bool,
) -> Tensor:
    """AutoAttack (Croce and Hein, 2020): each attack of an ensemble on the images that are still right.

    Auto-PGD on the cross-entropy; then of a model that is not randomized Auto-PGD and FAB towards every other class,
    and Square; of a randomized one, whose logits are means over its draws, Auto-PGD on the difference-of-logits ratio:
    AutoAttack's `rand` version.

    Differs from the original: `steps` instead of 100 of each, `queries` instead of 5,000, one restart.
    """
    outer = Contiguous(model)
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    about: dict[str, Any] = {"norm": NORMS[norm], "eps": epsilon, "seed": draw_seed(generator)}
    towards = {"steps": steps, "n_classes": classes, **about}
    with frozen(outer), seeded_globally(generator):
        attacks: list[torchattacks.attack.Attack] = [torchattacks.APGD(outer, steps=steps, loss="ce", **about)]
        if randomized:
            attacks.append(torchattacks.APGD(outer, steps=steps, loss="dlr", **about))
        else:
            if classes >= 4:  # its loss is made of the four highest logits
                attacks.append(torchattacks.APGDT(outer, **towards))
            attacks.append(torchattacks.FAB(outer, multi_targeted=True, **towards))
            attacks.append(torchattacks.Square(outer, n_queries=queries, **about))
        return _run(torchattacks.MultiAttack(attacks), images, labels)


def _run(attack: Any, images: Tensor, labels: Tensor) -> Tensor:
    found: Tensor = attack(images.contiguous(), labels)
    return found.detach().clamp(0, 1)


class Contiguous(nn.Module):
    """The model, with gradients of the images in the usual order of memory, which torchattacks expects."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(_ContiguousGradient.apply(images))
        return logits


class _ContiguousGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()
