"""Projected gradient descent, bounded in Euclidean length (Madry et al., https://arxiv.org/abs/1706.06083)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.goals import Goal
from pipeline.attacks.projected_gradient import L2, projected_gradient_descent
from pipeline.ranges import Range

budget = ("epsilon", "l2")


def pgd_l2(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    generator: torch.Generator,
    *,
    epsilon: Annotated[float, Range(0, 1000, low_open=True)],
    relative_step_size: Annotated[float, Range(0, 2, low_open=True)],
    steps: Annotated[int, Range(1, 1000)],
    restarts: Annotated[int, Range(1, 30)] = 1,
    random_start: bool = True,
) -> tuple[Tensor, Tensor]:
    """Targeted: raises the log-probability of the target; see `projected_gradient_descent`.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1]. target_labels : int64 (n,).
    epsilon : largest Euclidean length over all pixels and channels of the perturbation.
    relative_step_size : length of a step, as a share of epsilon.
    """
    return projected_gradient_descent(
        model,
        images,
        Goal(target_labels),
        generator,
        L2(),
        epsilon=epsilon,
        relative_step_size=relative_step_size,
        steps=steps,
        restarts=restarts,
        random_start=random_start,
    )
