"""Gradients in bfloat16, decisions in float32: what a study's `precision: bfloat16` means."""

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.devices import check_bfloat16
from pipeline.models.precision import Precision, computing_in, lowered

# Where a float32 pass decides: a lead above minus this share of the largest logit of the image.
NEAR = 0.02


class Lowered(nn.Module):
    """A copy of a model whose convolutions and linear layers compute in bfloat16; images and logits stay as they are.

    Images are normalized before they are rounded: the gradients are nearer to float32's than those of a model that is
    bfloat16 throughout, and as fast.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = lowered(model)

    def forward(self, images: Tensor) -> Tensor:
        with computing_in("bfloat16", images.device):
            logits: Tensor = self.model(images.contiguous(memory_format=torch.channels_last))
        return logits.to(images.dtype)


def for_gradients(model: nn.Module, precision: Precision) -> nn.Module:
    """The model to take gradients of: itself, or its copy in bfloat16. Raises PipelineError where there is none."""
    if precision == "float32":
        return model
    check_bfloat16(next(model.parameters()).device)
    return Lowered(model)


def reached(model: nn.Module, climbed: nn.Module, images: Tensor, logits: Tensor, goal: Goal) -> Tensor:
    """bool (n,): which images have reached the goal, by `model`; `logits` are those that `climbed` gave.

    Where `climbed` is another, of lower precision, `model` is asked about the images that come near the goal. One that
    reaches it unseen is found a step later; none is taken for one that has not.
    """
    if climbed is model:
        return goal.reached(logits)
    near = (goal.lead(logits) > -NEAR * logits.flatten(1).abs().amax(1)).nonzero()[:, 0]
    found = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    if count := len(near):
        asked = near
        if near.device.type == "cuda":  # there every new shape costs: asked by powers of two
            asked = near[torch.arange(1 << (count - 1).bit_length(), device=near.device) % count]
        with torch.no_grad():
            found[near] = goal.at(asked).reached(model(images[asked]))[:count]
    return found
