"""Projected gradient descent in a ball around the image (Madry et al., https://arxiv.org/abs/1706.06083)."""

from functools import partial

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.balls import L2, Linf
from pipeline.attacks.shared.goals import Goal
from pipeline.models.modes import frozen


def projected_gradient_descent(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    generator: torch.Generator,
    ball: Linf | L2,
    *,
    epsilon: float,
    relative_step_size: float,
    steps: int,
    restarts: int,
    random_start: bool,
    decay: bool = False,
) -> tuple[Tensor, Tensor]:
    """`steps` steps of `relative_step_size` * epsilon, each projected on the ball and clipped to [0, 1].

    With `decay` that is the first step's size, and the sizes fall linearly towards zero: long steps look around, short
    ones settle, as AutoAttack's halved ones do (Croce, Hein, 2020).

    Parameters
    ----------
    model : images in [0, 1] to the logits that the goal takes.
    images : float (n, c, h, w) in [0, 1].
    generator : of the random starts, on the images' device.
    restarts : runs in all; of a model that is not randomized only images that no run before has fooled take part in the
    next, see `Goal.tried_again`.

    Returns
    -------
    The last image of a run (n, c, h, w); where that is not adversarial, the last one that was, if any. Of a randomized
    model, where a success may be luck, every image makes all runs, and the last image of the farthest lead counts.
    The steps taken, int64 (n,), over all runs.

    Differs from the original: it keeps no images of a run but those.
    """
    found = images.clone()
    taken = torch.zeros_like(goal.labels)
    step_size = relative_step_size * epsilon
    farthest = torch.full(goal.labels.shape, -torch.inf, device=images.device, dtype=images.dtype)
    rows = torch.arange(len(images), device=images.device)
    with frozen(model):
        for restart in range(restarts):
            originals, aim = images[rows], goal.at(rows)
            if restart:
                with torch.no_grad():
                    aim = aim.tried_again(restart, partial(model, originals))
            start = ball.random(originals, epsilon, generator) if random_start else torch.zeros_like(originals)
            current = latest = (originals + start).clamp_(0, 1)
            fooled = torch.zeros_like(rows, dtype=torch.bool)
            for step in range(steps):
                logits, gradients = score_gradients(model, current, aim.score)
                reached = aim.reached(logits)
                latest = torch.where(reached[:, None, None, None], current, latest)
                fooled |= reached
                size = step_size * (1 - step / steps) if decay else step_size
                moved = current + size * ball.direction(gradients)
                current = (originals + ball.project(moved - originals, epsilon)).clamp_(0, 1)
            with torch.no_grad():
                lead = aim.lead(model(current))
            if goal.randomized:
                kept = lead > farthest
                farthest = torch.maximum(lead, farthest)
            else:
                kept = (lead > 0) | ~fooled
            other = found if goal.randomized else latest
            found[rows] = torch.where(kept[:, None, None, None], current, other)
            taken[rows] += steps
            if not goal.randomized:
                rows = rows[~((lead > 0) | fooled)]
            if not len(rows):
                break
    return found, taken
