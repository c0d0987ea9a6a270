"""Several passes over the same values, one after the other or folded into one batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from pipeline.devices import batching

_FOLDED = ContextVar("folded", default=False)


@contextmanager
def folding() -> Iterator[None]:
    """Inside the block passes are folded on a CPU too, as many as fill a batch of the attack's size.

    For attacks on a defense, whose batches are as many images fewer as a step has draws. Other random numbers are drawn
    than without: gradients and votes of an attack whose draws are fixed want the same.
    """
    before = _FOLDED.set(True)
    try:
        yield
    finally:
        _FOLDED.reset(before)


def make_passes(run: Callable[..., Tensor], passes: int, *values: Tensor) -> Tensor:
    """Logits (n, passes, k) of `passes` runs over `values`, float (n, ...) each; `run` maps them to logits (n, k).

    On a CPU a pass at a time, but inside of `folding`. On a GPU as many at once as the table in devices.py has images
    for: a pass over few images is over before the next kernel is launched. `run` draws its random numbers for all rows
    alike, so that they are independent either way, but other ones.
    """
    count, sizes = len(values[0]), batching(values[0].device, values[0].shape[1:])
    most = sizes.folded or (sizes.attack if _FOLDED.get() else 0)
    together = max(1, most // max(1, count))
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
