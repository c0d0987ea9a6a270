"""Models in evaluation mode, or frozen, and back."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Inside the block every module of `model` is in evaluation mode; modes are restored, also after an exception."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the block `model` is in evaluation mode and its weights ask for no gradient.

    Modes and gradient flags are restored afterwards, also after an exception.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluation_mode(model):
        try:
            model.requires_grad_(False)
            yield model
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
