"""Projected gradient descent, bounded in every pixel (Madry et al., https://arxiv.org/abs/1706.06083)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.balls import Linf
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.protocol import Attack, Budget
from pipeline.ranges import Range


def pgd_linf(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    generator: torch.Generator,
    *,
    epsilon: Annotated[float, Range(0, 1, low_open=True)],
    relative_step_size: Annotated[float, Range(0, 2, low_open=True)],
    steps: Annotated[int, Range(1, 1000)],
    restarts: Annotated[int, Range(1, 30)] = 1,
    random_start: bool = True,
) -> tuple[Tensor, Tensor]:
    """Raises the log-probability of the target, or lowers that of the label; see `projected_gradient_descent`.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1].
    epsilon : largest pixel value of the perturbation.
    relative_step_size : length of a step, as a share of epsilon.
    """
    return projected_gradient_descent(
        model,
        images,
        goal,
        generator,
        Linf(),
        epsilon=epsilon,
        relative_step_size=relative_step_size,
        steps=steps,
        restarts=restarts,
        random_start=random_start,
    )


attack = Attack(run=pgd_linf, budget=Budget("epsilon", "linf"), random=True)
