"""The Jacobian-based Saliency Map Approach (paper, Section 2.2; https://arxiv.org/abs/1511.07528)."""

import math
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack, Budget
from pipeline.models.modes import frozen
from pipeline.ranges import Range

LARGEST = 128 * 128  # positions: beyond that thousands of steps an image, for a tenth of them


def jsma(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    *,
    allowed_fraction: Annotated[float, Range(0, 1, low_open=True)],
    positions_per_step: Annotated[int, Range(1, 10000)],
    step_size: Annotated[float, Range(0, 1, low_open=True)] = 1.0,
) -> tuple[Tensor, Tensor]:
    """Change the pixels of highest impact, a few at each step, until the goal is reached.

    The impact of a pixel is dF_t/dx + sum over k != t of -dF_k/dx: the gradient of F_t - sum of the
    others, one backward pass for all pixels; untargeted, minus that of the label. A position's impact is
    the sum of |impact| over those of its channels that have room to move in its direction; all channels of
    a chosen position move.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1].
    allowed_fraction : largest share of spatial positions that may be changed, once each.
    positions_per_step : positions changed between two looks at the gradient.
    step_size : how far a pixel moves; 1: to black or to white.

    Returns
    -------
    The images (n, c, h, w), and the steps taken, int64 (n,).

    Differs from the original: single positions instead of pairs, pixels may also get darker, and the
    Jacobian's rows are summed as the paper does instead of multiplied.
    """
    positions = images.shape[2] * images.shape[3]
    allowed = math.floor(allowed_fraction * positions + 1e-9)  # 0.29 of 100 is 29
    found = images.clone()
    taken = torch.zeros_like(goal.labels)
    rows = torch.arange(len(images), device=images.device)
    current = images
    untouched = torch.ones(len(images), positions, dtype=torch.bool, device=images.device)
    with frozen(model):
        for changed in range(0, allowed, positions_per_step):
            logits, impact = score_gradients(model, current, partial(_salience, goal))
            stays = goal.reached(logits).logical_not().nonzero()[:, 0]
            count = min(positions_per_step, allowed - changed)
            if not len(stays):
                break
            rows, goal, untouched = rows[stays], goal.at(stays), untouched[stays]
            current, impact = current[stays], impact[stays]
            room = torch.where(impact > 0, current < 1, current > 0)
            strength = (impact.abs() * room).sum(1).flatten(1)
            chosen = strength.masked_fill(~untouched, -1).topk(count, dim=1).indices
            here = torch.zeros_like(untouched).scatter_(1, chosen, True)
            untouched &= ~here
            move = step_size * impact.sign() * here.view(len(rows), 1, *images.shape[2:])
            current = (current + move).clamp_(0, 1)
            taken[rows] += 1
            found[rows] = current
    return found, taken


def _salience(goal: Goal, logits: Tensor) -> Tensor:
    """F_t minus the sum of the others, (n,)."""
    decisive = goal.prediction(logits)
    salience = 2 * decisive.gather(1, goal.labels[:, None])[:, 0] - decisive.sum(1)
    return salience if goal.targeted else -salience


attack = Attack(run=jsma, budget=Budget("allowed_fraction", "l0"), largest=LARGEST)
