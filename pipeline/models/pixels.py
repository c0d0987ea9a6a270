"""Bytes to [0, 1] on any device; `pipeline/pixels.py` does the same where there are arrays instead of tensors."""

from functools import cache

import torch
from torch import Tensor


def unit_interval(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images, of any shape, divided by 255: in [0, 1], of `dtype`, on their device.

    The quotients are looked up, so that they are the same on every device: CUDA multiplies by the rounded reciprocal
    of a scalar divisor, which gives another float32 for 126 of the 256 bytes.
    """
    table = _unit_values(dtype, images.device)
    return table.index_select(0, images.flatten().int()).view(images.shape)


@cache
def _unit_values(dtype: torch.dtype, device: torch.device) -> Tensor:
    """0/255, 1/255, ..., 255/255, divided on the CPU."""
    with torch.inference_mode(False):
        return (torch.arange(256, dtype=dtype) / 255).to(device)
