"""What the classifiers that a study trains have in common: each kind is a file beside this one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError


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


def check_buildable(
    build: Callable[..., nn.Module],
    shape: tuple[int, int, int],
    class_count: int,
    arguments: Mapping[str, Any],
    where: str,
) -> None:
    """Raise PipelineError naming `where`, the block of the arguments, if they build no network for such images.

    Neither memory nor random numbers are taken.
    """
    try:
        with torch.device("meta"):
            build(shape, class_count, **arguments)
    except PipelineError as error:
        raise PipelineError(f"{where}.{error}") from None


class NormalizingClassifier(nn.Sequential):
    """Layers of which the first normalizes: images in [0, 1], float32 (n, c, h, w), to logits, float32 (n, k)."""

    architecture: dict[str, Any]

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and std, each of shape (c,), of the training images in [0, 1]."""
        normalize = self[0]
        assert isinstance(normalize, Normalize)
        normalize.mean.copy_(mean.view(-1, 1, 1))
        normalize.std.copy_(std.view(-1, 1, 1))
