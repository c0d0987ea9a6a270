"""Minimal perturbation adversaries: gradient ascent halted at the first success (paper, Section 2.2)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import ascend, score_gradients
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.precision import for_gradients, reached
from pipeline.attacks.shared.protocol import Attack
from pipeline.models.modes import frozen
from pipeline.models.precision import Precision
from pipeline.ranges import Range


def minimal(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    *,
    step_size: Annotated[float, Range(0, 1000, low_open=True)],
    max_steps: Annotated[int, Range(1, 15000)],
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor]:
    """Raise each image's target logit by its gradient itself until the target is predicted; untargeted, the lead.

    The method as the paper tells it, one batch from start to end; `shared.engine` gives the same
    images faster, and the tests hold it to this loop.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1]; left as they are.
    step_size : factor on the gradient, in pixels squared per logit.
    max_steps : steps after which an image is given up and returned as it then is, not fooled.
    precision : of the gradients; whether an image has reached its goal is decided in the model's own.

    Returns
    -------
    The images, (n, c, h, w), and the steps taken by each, int64 (n,): 0 where the goal was
    reached from the start, max_steps where an image was given up. The engine gives up
    earlier on one that no step moves.
    """
    steps = torch.zeros_like(goal.labels)
    with frozen(model):
        climbed = for_gradients(model, precision)
        for _ in range(max_steps):
            logits, gradients = score_gradients(climbed, images, goal.raised)
            active = ~reached(model, climbed, images, logits, goal)
            if not active.any():
                break
            raised = ascend(images, gradients, step_size=step_size)
            images = torch.where(active[:, None, None, None], raised, images)
            steps += active
    return images, steps


attack = Attack(run=minimal, first_success_update=ascend)
