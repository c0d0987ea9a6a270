"""In which batches the images of an epoch are taken."""

import math

from torch import Tensor


def batch_count(count: int, batch_size: int) -> int:
    """How many batches `count` images make; one image too many for the last batch joins it."""
    return math.ceil((count - 1) / batch_size) if 1 < batch_size < count else math.ceil(count / batch_size)


def in_batches(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Parts of `order`, int64 (n,), of `batch_size`, the last one smaller, or larger by one.

    Batch normalization cannot train on a batch of one image, where that is one pixel.
    """
    full = batch_size * (batch_count(len(order), batch_size) - 1)
    return (*order[:full].split(batch_size), order[full:]) if full > 0 else (order,)
