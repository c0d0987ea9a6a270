"""What became of an attack on an image."""

import torch
from torch import Tensor


def margins(logits: Tensor, target_labels: Tensor) -> Tensor:
    """Target logit minus the largest other logit, (n,): the target is predicted where it is above 0.

    logits : float (n, k). target_labels : int64 (n,). A tie counts as not fooled.
    """
    index = target_labels[:, None]
    others = logits.scatter(1, index, -torch.inf)
    return logits.gather(1, index)[:, 0] - others.amax(1)
