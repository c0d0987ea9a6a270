"""Gradients in bfloat16, decisions in float32: what a study's `precision: bfloat16` means."""

from collections.abc import Callable

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
    if len(near):
        found[near] = goal.at(near).reached(_exact(model, images, near))
    return found


def settled(model: Callable[[Tensor], Tensor], images: Tensor, logits: Tensor) -> Tensor:
    """Logits (n, passes, k) of lower precision, with their gradients; those of float32 where that may decide.

    model : gives those of float32, the same at every call. It is asked about the images whose two largest logits, of
    the mean over passes, lie as near to each other as `reached` calls near.
    """
    largest = logits.detach().mean(1).topk(2, 1).values
    near = (largest[:, 0] - largest[:, 1] < NEAR * logits.detach().flatten(1).abs().amax(1)).nonzero()[:, 0]
    if not len(near):
        return logits
    moved = torch.zeros_like(logits)
    moved[near] = _exact(model, images, near) - logits.detach()[near]
    return logits + moved


def _exact(model: Callable[[Tensor], Tensor], images: Tensor, rows: Tensor) -> Tensor:
    """What a model says of some of the images, without gradients."""
    count, asked = len(rows), rows
    if rows.device.type == "cuda":  # there every new shape costs: asked by powers of two
        asked = rows[torch.arange(1 << (count - 1).bit_length(), device=rows.device) % count]
    with torch.no_grad():
        return model(images[asked])[:count]
