"""Gaussian blur

Before the classifier: what an autoencoder must beat. Not in the paper.
"""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.defenses.protocol import Defense
from pipeline.ranges import Range


def gaussian_blur(
    classifier: nn.Module, images: Tensor, generator: torch.Generator, *, sigma: Annotated[float, Range(0, 20)]
) -> Tensor:
    """Logits of one pass over the blurred images, float (n, 1, k), for images (n, c, h, w) in [0, 1].

    sigma : in pixels. As a variant of an autoencoder's family, that of the autoencoder's reconstruction error.
    """
    logits: Tensor = classifier(blur(images, sigma))
    return logits[:, None]


def blur(images: Tensor, sigma: float) -> Tensor:
    """Images (n, c, h, w) convolved with a Gaussian of `sigma` pixels, cut off at 4 sigma, edges repeated."""
    if sigma == 0:
        return images
    reach = max(1, round(4 * sigma))
    distances = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (distances / sigma).square())
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = repeat_edges(images, reach)
    rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def repeat_edges(images: Tensor, reach: int) -> Tensor:
    """Images (n, c, h, w) with `reach` more pixels on each side, each like the nearest of the image.

    As `functional.pad` with mode "replicate", bit by bit; on a GPU that one's gradient is summed in any order.
    """
    rows, columns = (
        torch.arange(-reach, side + reach, device=images.device).clamp(0, side - 1) for side in images.shape[2:]
    )
    if images.is_contiguous():
        return images[:, :, rows[:, None], columns]
    return images.permute(0, 2, 3, 1)[:, rows[:, None], columns].permute(0, 3, 1, 2)  # channels_last stays so


defense = Defense(predict=gaussian_blur, role=None)
