"""Square: random search by scores alone (Andriushchenko et al., https://arxiv.org/abs/1912.00049), of torchattacks."""

import math
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

    Differs from the original: of a model that is randomized no image leaves at its first success, which may be luck;
    all queries go on lowering the lead.
    """
    with for_torchattacks(model, goal, generator, norm, epsilon) as outside:
        if not goal.randomized:
            return outside.run(torchattacks.Square(outside.model, n_queries=queries, **outside.about), images, goal)
        # Not `search(images, labels)`: that leaves out, and gives back as they were, what one last query finds right.
        search = _Patient(outside.model, n_queries=queries, **outside.about)
        search.init_hyperparam(images)
        _, found = search.attack_single_run(images.contiguous(), goal.labels)
        return found.detach().clamp(0, 1), torch.zeros_like(goal.labels)


class _Patient(torchattacks.Square):  # type: ignore[misc]
    """Square for which no image is fooled before the last query."""

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        _, loss = super().margin_and_loss(x, y)
        return torch.ones_like(loss), loss


def no_room_for_squares(norm: str, height: int, width: int) -> str:
    """Why torchattacks' Square fails on images of this size, "" where it does not: its first square has to fit in."""
    if norm == "l2" and min(height, width) < 5:
        return f"expected images of at least 5 x 5 pixels, found {height} x {width}"
    side = round(math.sqrt(0.8 * height * width))
    side += norm == "l2" and side % 2 == 0
    if side > min(height, width):
        return f"expected images that hold a square of {side} x {side} pixels, found {height} x {width}"
    return ""


attack = Attack(
    run=square,
    budget=epsilon_in_its_norm,
    random=True,
    gradients=False,
    targeted=False,
    unfit=no_room_for_squares,
)
