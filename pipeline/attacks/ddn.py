"""Decoupled Direction and Norm: a short L2 perturbation (Rony et al., https://arxiv.org/abs/1811.09600)."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.balls import L2, lengths
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack
from pipeline.models.modes import frozen
from pipeline.ranges import Range


def ddn(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    *,
    steps: Annotated[int, Range(1, 30000)],
    initial_norm: Annotated[float, Range(0, 1000, low_open=True)] = 1.0,
    gamma: Annotated[float, Range(0, 1, low_open=True)] = 0.05,
) -> tuple[Tensor, Tensor]:
    """The shortest adversarial perturbation met on a walk along the decision boundary.

    The norm shrinks by the factor 1 - gamma while the goal is reached and grows by 1 + gamma while
    not; the direction follows the normalized gradient of the goal's score, by steps that
    anneal from 1 to 0.01 (cosine).

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1].
    initial_norm : L2 norm that the first step shrinks or grows from.

    Returns
    -------
    The nearest adversarial image met (n, c, h, w), the last one where none was; `steps` for each, int64 (n,).

    Differs from the original: no rounding to 8 bits, and the image after the last step counts too.
    """
    ball = L2()
    # The farthest corner of the pixel box: no perturbation is longer.
    farthest = lengths(torch.maximum(images, 1 - images))
    norm = torch.full_like(farthest, initial_norm)
    shortest = torch.full_like(farthest, torch.inf)
    perturbations = torch.zeros_like(images)
    found = images
    with frozen(model):
        for step in range(steps + 1):
            current = images + perturbations
            if step < steps:
                logits, gradients = score_gradients(model, current, goal.score)
            else:
                with torch.no_grad():
                    logits = model(current)
            fooled = goal.reached(logits)[:, None, None, None]
            length = lengths(perturbations)
            better = fooled & (length < shortest)
            shortest = torch.where(better, length, shortest)
            found = torch.where(better | (shortest == torch.inf), current, found)
            if step == steps:
                break
            step_size = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
            perturbations = perturbations + step_size * ball.direction(gradients)
            norm = torch.minimum(norm * torch.where(fooled, 1 - gamma, 1 + gamma), farthest)
            perturbations = perturbations * (norm / lengths(perturbations).clamp_min(1e-12))
            perturbations = (images + perturbations).clamp_(0, 1) - images
    # x + (x' - x) may leave [0, 1] by a rounding.
    return found.clamp(0, 1), torch.full_like(goal.labels, steps)


attack = Attack(run=ddn)
