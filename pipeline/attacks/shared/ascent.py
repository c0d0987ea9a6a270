"""Gradient ascent on images, with a model whose weights stay as they are (paper, Section 2.2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.models.modes import frozen

Score = Callable[[Tensor], Tensor]


def score_gradients(model: nn.Module, images: Tensor, score: Score) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of each image's score, (n, c, h, w); `score` maps logits to (n,).

    The scores are summed, not averaged, so that an image's gradient does not depend on its batch.
    """
    logits, gradients = forward(model, images)
    return logits, gradients(score)


def forward(model: nn.Module, images: Tensor) -> tuple[Tensor, Callable[[Score], Tensor]]:
    """`score_gradients` in two: the logits, and what then makes the backward pass and gives the gradients."""
    images = images.detach().requires_grad_()
    logits = model(images)

    def backward(score: Score) -> Tensor:
        (gradients,) = torch.autograd.grad(score(logits).sum(), images)
        return gradients

    return logits.detach(), backward


def ascend(images: Tensor, gradients: Tensor, *, step_size: float) -> Tensor:
    """One step by the gradient itself, not its sign: x <- clip(x + step_size * grad F_t(x), 0, 1)."""
    return torch.add(images, gradients, alpha=step_size).clamp_(0, 1)


def ascend_steps(model: nn.Module, images: Tensor, goal: Goal, *, step_size: float, steps: int) -> Tensor:
    """`steps` steps of ascent on what each image's goal raises, whatever is predicted on the way."""
    with frozen(model):
        for _ in range(steps):
            _, gradients = score_gradients(model, images, goal.raised)
            images = ascend(images, gradients, step_size=step_size)
    return images
