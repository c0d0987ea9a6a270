"""Several passes over the same values, one after the other or folded into one batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.devices import batching


def make_passes(run: Callable[..., Tensor], passes: int, *values: Tensor) -> Tensor:
    """Logits (n, passes, k) of `passes` runs over `values`, float (n, ...) each; `run` maps them to logits (n, k).

    On a CPU a pass at a time. On a GPU as many at once as the table in devices.py has images for: a pass over few
    images is over before the next kernel is launched. `run` draws its random numbers for all rows alike, so that they
    are independent either way, but other ones.
    """
    count = len(values[0])
    together = max(1, batching(values[0].device).folded // max(1, count))
    if together == 1:
        return torch.stack([run(*values) for _ in range(passes)], dim=1)
    parts = []
    for first in range(0, passes, together):
        copies = min(together, passes - first)
        parts.append(run(*(_repeat(value, copies) for value in values)).unflatten(0, (count, copies)))
    return torch.cat(parts, dim=1)


def _repeat(values: Tensor, copies: int) -> Tensor:
    """Each row `copies` times, (n * copies, ...): dense, images in the device's memory format."""
    repeated = values[:, None].expand(-1, copies, *values.shape[1:]).flatten(0, 1)
    return repeated.contiguous(memory_format=batching(values.device).memory_format) if values.ndim == 4 else repeated
