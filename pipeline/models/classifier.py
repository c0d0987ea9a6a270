"""What the classifiers that a study trains have in common: each kind is a file beside this one."""

from typing import Any

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(images - mean) / std per channel, inside the model: attacks see images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, channel_count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channel_count, 1, 1))
        self.register_buffer("std", torch.ones(channel_count, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class NormalizingClassifier(nn.Sequential):
    """Layers of which the first normalizes: images in [0, 1], float32 (n, c, h, w), to logits, float32 (n, k)."""

    architecture: dict[str, Any]

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and std, each of shape (c,), of the training images in [0, 1]."""
        normalize = self[0]
        assert isinstance(normalize, Normalize)
        normalize.mean.copy_(mean.view(-1, 1, 1))
        normalize.std.copy_(std.view(-1, 1, 1))
