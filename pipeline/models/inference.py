"""From stored images to logits, in batches."""

from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def place(model: Model, device: torch.device) -> Model:
    """The model on `device`, its convolutions in channels_last, the faster format on CPU and GPU alike."""
    model.to(memory_format=torch.channels_last)
    return model.to(device)


def to_unit_interval(images: Tensor, model: nn.Module) -> Tensor:
    """Images (n, c, h, w) in [0, 1], in channels_last, on the model's device and of its type.

    uint8 images are divided by 255; floating-point ones are taken to be in [0, 1] already.
    """
    parameter = next(model.parameters())
    scaled = images.to(parameter.device, parameter.dtype)
    if images.dtype == torch.uint8:
        scaled = scaled.div_(255)
    return scaled.contiguous(memory_format=torch.channels_last)


def predict(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Logits (n, k) of uint8 or float images (n, c, h, w), with the model as it stands; no gradients."""
    with torch.inference_mode():
        return torch.cat([model(to_unit_interval(batch, model)) for batch in images.split(batch_size)])
