"""Minimal perturbation adversaries: gradient ascent halted at the first success (paper, Section 2.2)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.ascent import ascend, target_score_gradients
from pipeline.metrics.outcomes import margins
from pipeline.models.modes import frozen
from pipeline.ranges import Range

first_success_update = ascend  # what the engine repeats; `minimal` below is the method itself


def minimal(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    *,
    step_size: Annotated[float, Range(0, 1000, low_open=True)],
    max_steps: Annotated[int, Range(1, 15000)],
) -> tuple[Tensor, Tensor]:
    """Raise each image's target logit by its gradient itself until the target is predicted.

    The method as the paper tells it, one batch from start to end; `attacks.engine` gives the same
    images faster, and the tests hold it to this loop.

    Parameters
    ----------
    model : images in [0, 1] to logits (n, k).
    images : float (n, c, h, w) in [0, 1]; left as they are.
    target_labels : int64 (n,).
    step_size : factor on the gradient, in pixels squared per logit.
    max_steps : steps after which an image is given up and returned as it then is, not fooled.

    Returns
    -------
    The images, (n, c, h, w), and the steps taken by each, int64 (n,): 0 where the target was
    predicted from the start, max_steps where an image was given up.
    """
    steps = torch.zeros_like(target_labels)
    with frozen(model):
        for _ in range(max_steps):
            logits, gradients = target_score_gradients(model, images, target_labels)
            active = margins(logits, target_labels) <= 0
            if not active.any():
                break
            raised = ascend(images, gradients, step_size=step_size)
            images = torch.where(active[:, None, None, None], raised, images)
            steps += active
    return images, steps
