"""Projected gradient descent in either norm, by steps that fall to zero (Madry et al., 2018; Croce, Hein, 2020)."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.protocol import Attack, epsilon_in_its_norm
from pipeline.ranges import Range


def pgd(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    generator: torch.Generator,
    *,
    norm: Literal["linf", "l2"],
    epsilon: Annotated[float, Range(0, 1000, low_open=True)],
    relative_step_size: Annotated[float, Range(0, 2, low_open=True)],
    steps: Annotated[int, Range(1, 1000)],  # times the restarts they are stored as int16
    restarts: Annotated[int, Range(1, 30)] = 1,
    random_start: bool = True,
    decay: bool = True,
) -> tuple[Tensor, Tensor]:
    """Raises the goal's score; see `projected_gradient_descent`.

    `pgd_linf` and `pgd_l2` are the method as published; this one is what whole defenses are attacked with.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1].
    epsilon : largest perturbation: of every pixel (linf), or its Euclidean length (l2).
    relative_step_size : length of the first step, as a share of epsilon; with `decay` the others fall linearly to zero.
    """
    return projected_gradient_descent(
        model,
        images,
        goal,
        generator,
        BALLS[norm],
        epsilon=epsilon,
        relative_step_size=relative_step_size,
        steps=steps,
        restarts=restarts,
        random_start=random_start,
        decay=decay,
    )


attack = Attack(run=pgd, budget=epsilon_in_its_norm, random=True)
