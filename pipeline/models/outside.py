"""A classifier that somebody else has made: a module of which nothing is known but what goes in and what comes out."""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.models.classifier import Normalize
from pipeline.models.dropout import Switched, scaled_mask
from pipeline.models.pixels import unit_interval

# Functions of PyTorch that drop, by how many dimensions of the values share a mask's value: whole channels, or none.
DROPPING = {
    functional.dropout: 0,
    torch.dropout: 0,
    functional.dropout1d: 1,
    functional.dropout2d: 2,
    functional.dropout3d: 3,
}


class Outside(Switched):
    """Images in [0, 1], float32 (n, c, h, w), to the logits, (n, k), of somebody's module behind a normalization.

    The module gets images of its own, in PyTorch's plain order of memory: it may overwrite them, and take a `view`.
    Its dropout, of layers or of functions, is switched on by `sampling` alone, whatever mode it is in; that of
    `scaled_dot_product_attention`, its argument `dropout_p`, stays as the module has it.

    architecture : of which study it is, the arguments that it was built with, and its shapes; what builds it stands in
        that study's params.
    """

    def __init__(self, module: nn.Module, architecture: Mapping[str, Any]) -> None:
        super().__init__(None)
        self.architecture = dict(architecture)
        self.normalize = Normalize(self.architecture["input_shape"][0])
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        values = self._prepared(images)
        if self.generator is None:
            logits: Tensor = self.module(values)
            return logits
        with Dropping(self.generator, self.rate):
            dropped: Tensor = self.module(values)
        return dropped

    def drops(self, images: Tensor) -> bool:
        """Whether it has any dropout, seen on one pass over `images`, (n, c, h, w) in [0, 1]."""
        with torch.no_grad(), Dropping(None, None) as seen:
            self.module(self._prepared(images))
        return bool(seen.calls)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Outside":
        """As ever, but that the weights stay in the plain order of memory: what it calculates then does."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for tensor in chain(self.parameters(), self.buffers()):
            tensor.data = plain(tensor.data)
        return self

    def _prepared(self, images: Tensor) -> Tensor:
        return plain(self.normalize(images))


def plain(tensor: Tensor) -> Tensor:
    """A copy in the plain order of memory: of one channel `contiguous` takes the other order for it."""
    return tensor.clone(memory_format=torch.contiguous_format)


class Dropping(TorchFunctionMode):
    """Inside the block PyTorch's own dropout draws its masks from `generator`, in training and evaluation alike.

    generator : None: nothing is dropped, and `calls` counts how often it would have been.
    rate : overrides that of each call. Alpha dropout is left as it is.
    """

    def __init__(self, generator: torch.Generator | None, rate: float | None) -> None:
        super().__init__()
        self.generator, self.rate, self.calls = generator, rate, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = dict(kwargs or {})
        if func not in DROPPING:
            return func(*args, **found)
        self.calls += 1
        found |= dict(zip(("input", "p"), args, strict=False))
        values: Tensor = found["input"]
        rate = found.get("p", 0.5) if self.rate is None else self.rate
        if self.generator is None or not rate:
            return values
        shared = DROPPING[func]
        kept = values.flatten(-shared)[..., :1] if shared else values
        mask = scaled_mask(kept, rate, self.generator)
        return values * (mask.view(*values.shape[:-shared], *[1] * shared) if shared else mask)


# A share of right predictions within so many standard errors of chance is taken for chance.
ERRORS = 3.0
# Of so many images no logits lie all between 0 and 1.
MANY = 20


def check_logits(model: Outside, images: Tensor, class_count: int, what: str) -> None:
    """Raise PipelineError, beginning with `what`, where it gives no logits of images uint8 (n, c, h, w).

    If it does not take images of this size, or gives no finite scores of `class_count` classes with gradients, or what
    looks like probabilities, or other scores each time.
    """
    parameter = next(model.parameters())
    some = unit_interval(images.to(parameter.device), parameter.dtype).requires_grad_()
    shape = "x".join(map(str, images.shape[1:]))
    try:
        logits = model(some)
    except Exception as error:  # whatever somebody's `forward` says of what it is given
        said = " ".join(str(error).split())
        raise PipelineError(
            f"{what}: expected a model of images {shape}, it raised {type(error).__name__}: {said}"
        ) from None
    if not isinstance(logits, Tensor) or logits.shape != (len(some), class_count):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        wanted = len(some), class_count
        raise PipelineError(f"{what}: expected logits {wanted} of {len(some)} images {shape}, found {found}")
    if not logits.isfinite().all():
        raise PipelineError(f"{what}: expected finite logits, found NaN or infinity among them")
    of_sum_one = bool(((logits.sum(1) - 1).abs() < 1e-3).all())
    if ((logits >= 0) & (logits <= 1)).all() and (of_sum_one or len(logits) >= MANY):
        raise PipelineError(
            f"{what}: expected logits, found what looks like probabilities (all in [0, 1]): leave out the "
            f"{'softmax' if of_sum_one else 'sigmoid'}"
        )
    if not torch.allclose(model(some), logits, rtol=1e-2, atol=1e-2):
        raise PipelineError(
            f"{what}: expected the same logits of the same images, found others: is it random in eval()?"
        )
    if not logits.requires_grad:
        raise PipelineError(
            f"{what}: expected logits that depend on the images by gradients, found none (no_grad, detach?)"
        )


def check_outside(
    model: Outside, images: Tensor, labels: NDArray[np.integer[Any]], class_count: int, what: str
) -> float:
    """Its accuracy on images uint8 (n, c, h, w) with labels (n,), once it has been found to be a classifier of them.

    Raises PipelineError, beginning with `what`, if it gives no logits of them, see `check_logits`, or is right no more
    often than by chance.
    """
    parameter = next(model.parameters())
    size = batching(parameter.device, images.shape[1:]).predict
    check_logits(model, images[:size], class_count, what)
    with torch.inference_mode():
        parts = (model(unit_interval(part.to(parameter.device), parameter.dtype)) for part in images.split(size))
        predicted = torch.cat([part.argmax(1) for part in parts]).cpu().numpy()
    accuracy = float((predicted == labels).mean())
    by_chance = (
        float((np.bincount(predicted, minlength=class_count) * np.bincount(labels, minlength=class_count)).sum())
        / len(labels) ** 2
    )
    # All of a few images right is as much as they can show.
    if accuracy < 1 and accuracy <= by_chance + ERRORS * np.sqrt(by_chance * (1 - by_chance) / len(labels)):
        raise PipelineError(
            f"{what}: expected a classifier, found {accuracy:.1%} of {len(labels)} validation images right, no "
            f"better than chance ({by_chance:.1%}): are these logits of these classes, in their order? "
            "Is `normalization` right?"
        )
    return accuracy
