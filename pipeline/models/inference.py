"""From stored images to logits, in batches."""

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from pipeline.devices import batching
from pipeline.models.outside import Outside
from pipeline.models.pixels import unit_interval

Model = TypeVar("Model", bound=nn.Module)


def place(model: Model, device: torch.device) -> Model:
    """The model on `device`, its convolutions in the memory format that is faster there."""
    model.to(memory_format=batching(device).memory_format)
    return model.to(device)


def for_inference(model: Model, device: torch.device) -> Model:
    """The trained model made ready to be attacked or evaluated: changed in place, and returned.

    In evaluation mode, on `device`, in its memory format, its weights without gradients, and each batch normalization
    of a `Sequential` of ours folded into the convolution before it: the same function up to rounding, in fewer passes
    over memory (8 to 23 % more forward and backward passes a second on a CPU). Its weights are no longer those of its
    file.
    """
    model.eval()
    taken = {part for module in model.modules() if isinstance(module, Outside) for part in module.modules()}
    for sequence in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        if sequence in taken:  # its layers may be used in other ways than in their order
            continue
        for (name, layer), (after, norm) in pairwise(list(sequence.named_children())):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(sequence, name, fuse_conv_bn_eval(layer, norm, isinstance(layer, nn.ConvTranspose2d)))
                setattr(sequence, after, nn.Identity())
    return place(model.requires_grad_(False), device)


def weight_count(model: nn.Module) -> int:
    """How many weights a training moves: before batch normalization is folded, see `for_inference`."""
    return sum(parameter.numel() for parameter in model.parameters())


def depth_and_width(model: nn.Module) -> tuple[int, int]:
    """Number of its convolutions, and the channels of the widest; without any, of its hidden linear layers."""
    convolutions = [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    linear = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    widths = convolutions or linear[:-1] or [0]
    return len(widths), max(widths)


def to_unit_interval(images: Tensor, model: nn.Module) -> Tensor:
    """Images (n, c, h, w) in [0, 1], on the model's device, in the memory format for it, and of the model's type.

    uint8 images are divided by 255; floating-point ones are taken to be in [0, 1] already.
    """
    parameter = next(model.parameters())
    moved = images.to(parameter.device)  # as bytes: a fourth of the way's load
    scaled = unit_interval(moved, parameter.dtype) if images.dtype == torch.uint8 else moved.to(parameter.dtype)
    return scaled.contiguous(memory_format=batching(parameter.device).memory_format)


def predict(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Logits (n, k) of uint8 or float images (n, c, h, w), with the model as it stands; no gradients."""
    with torch.inference_mode():
        return torch.cat([model(to_unit_interval(batch, model)) for batch in images.split(batch_size)])
