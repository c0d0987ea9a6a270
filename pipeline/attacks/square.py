"""Square: random search by scores alone (Andriushchenko et al., https://arxiv.org/abs/1912.00049), of torchattacks."""

from typing import Annotated, Literal

import torch
import torchattacks
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.outside import for_torchattacks
from pipeline.attacks.shared.protocol import Attack, epsilon_in_its_norm
from pipeline.ranges import Range


def square(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    generator: torch.Generator,
    *,
    norm: Literal["linf", "l2"],
    epsilon: Annotated[float, Range(0, 1000, low_open=True)],
    queries: Annotated[int, Range(1, 100000)] = 5000,
) -> tuple[Tensor, Tensor]:
    """Change the image in squares at random places, and keep what lowers the lead of the label.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1]. goal : untargeted.
    epsilon : size of the ball. queries : at most so many predictions an image; 5,000 is the original's.

    Returns
    -------
    Images within the ball (n, c, h, w); steps 0: torchattacks does not tell.
    """
    with for_torchattacks(model, goal, generator, norm, epsilon) as outside:
        search = torchattacks.Square(outside.model, n_queries=queries, **outside.about)
        return outside.run(search, images, goal)


attack = Attack(run=square, budget=epsilon_in_its_norm, random=True, gradients=False, targeted=False)
