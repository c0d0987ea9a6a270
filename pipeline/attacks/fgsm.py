"""The Fast Gradient Sign Method (paper, Section 2.2; https://arxiv.org/abs/1412.6572)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack, Budget
from pipeline.models.modes import frozen
from pipeline.ranges import Range


def fgsm(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    *,
    epsilon: Annotated[float, Range(0, 1, low_open=True)],
) -> tuple[Tensor, Tensor]:
    """One step: x' = clip(x + epsilon * sign(grad F_t(x)), 0, 1), F_t being the target's logit; untargeted, the lead.

    Differs from the original, which raises the cross-entropy loss of the label: the paper raises the
    target's score.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1].
    epsilon : change of every pixel.
    """
    with frozen(model):
        _, gradients = score_gradients(model, images, goal.raised)
    return (images + epsilon * gradients.sign()).clamp_(0, 1), torch.ones_like(goal.labels)


attack = Attack(run=fgsm, budget=Budget("epsilon", "linf"))
