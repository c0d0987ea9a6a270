"""What attacks of other libraries need: one prediction an image, memory in their order, seeds instead of generators."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.devices import batching
from pipeline.models.modes import frozen
from pipeline.randomness import draw_seed, seeded_globally

TORCHATTACKS_NORMS = {"linf": "Linf", "l2": "L2"}


class Prediction(nn.Module):
    """The logits that decide of a model's, (n, k): for attacks that know no passes."""

    def __init__(self, model: nn.Module, goal: Goal) -> None:
        super().__init__()
        self.model, self.goal = model, goal

    def forward(self, images: Tensor) -> Tensor:
        return self.goal.prediction(self.model(images))


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
        return images.contiguous(memory_format=batching(images.device).memory_format)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


@dataclass(frozen=True)
class ForTorchattacks:
    """A model as torchattacks takes it, and what its attacks have in common.

    model : images (n, c, h, w) in [0, 1] to logits (n, k). about : keyword arguments `norm, eps, seed`.
    """

    model: nn.Module
    about: dict[str, Any]

    def run(self, attack: Any, images: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
        """What the attack makes of images (n, c, h, w), in [0, 1]; steps 0: it does not tell."""
        found: Tensor = attack(images.contiguous(), goal.labels)
        return found.detach().clamp(0, 1), torch.zeros_like(goal.labels)


@contextmanager
def for_torchattacks(
    model: nn.Module, goal: Goal, generator: torch.Generator, norm: str, epsilon: float
) -> Iterator[ForTorchattacks]:
    """Inside the block the model is frozen and the global generators are seeded, by draws of `generator`."""
    outer = Contiguous(Prediction(model, goal))
    about = {"norm": TORCHATTACKS_NORMS[norm], "eps": epsilon, "seed": draw_seed(generator)}
    with frozen(outer), seeded_globally(generator):
        yield ForTorchattacks(outer, about)
