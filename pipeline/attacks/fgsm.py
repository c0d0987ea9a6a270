"""The Fast Gradient Sign Method, targeted (paper, Section 2.2; https://arxiv.org/abs/1412.6572)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.ascent import target_score_gradients
from pipeline.models.modes import frozen
from pipeline.ranges import Range

budget = ("epsilon", "linf")


def fgsm(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    *,
    epsilon: Annotated[float, Range(0, 1, low_open=True)],
) -> tuple[Tensor, Tensor]:
    """One step: x' = clip(x + epsilon * sign(grad F_t(x)), 0, 1), F_t being the target's logit.

    Differs from the original, which raises the cross-entropy loss of the label: the paper raises the
    target's score.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1]. target_labels : int64 (n,).
    epsilon : change of every pixel.
    """
    with frozen(model):
        _, gradients = target_score_gradients(model, images, target_labels)
    return (images + epsilon * gradients.sign()).clamp_(0, 1), torch.ones_like(target_labels)
