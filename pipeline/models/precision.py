"""What `precision: bfloat16` computes in bfloat16: convolutions and linear layers."""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeVar

import torch
from torch import nn

from pipeline.devices import check_bfloat16
from pipeline.models.outside import Outside

Precision = Literal["float32", "bfloat16"]
LOWERED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
Model = TypeVar("Model", bound=nn.Module)


def lowered(model: Model, order: torch.memory_format = torch.channels_last) -> Model:
    """A copy whose convolutions and linear layers have their weights in bfloat16, to be called inside `computing_in`.

    order : of memory; not of somebody's own model, whose `forward` may take a view, which channels_last does not allow.
    """
    found = copy.deepcopy(model)
    taken = any(isinstance(module, Outside) for module in model.modules())
    order = torch.preserve_format if taken else order
    for module in found.modules():
        if isinstance(module, LOWERED):
            module.to(torch.bfloat16, memory_format=order)  # type: ignore[call-overload]
    return found


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A block in which layers compute in this precision: under autocast, so that what is small or sums stays float32.

    Raises PipelineError where the device computes in bfloat16 no faster.
    """
    if precision == "float32":
        return nullcontext()
    check_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16)
