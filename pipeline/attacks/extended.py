"""Extended perturbation adversaries: the minimal ones' ascent carried on (paper, Section 2.2)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.ascent import ascend_steps
from pipeline.ranges import Range


def extended(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    *,
    step_size: Annotated[float, Range(0, 1000, low_open=True)],
    extra_steps: Annotated[int, Range(0, 15000)],
) -> tuple[Tensor, Tensor]:
    """Continue the trajectory of `minimal` by `extra_steps` steps of the same `step_size`.

    Takes and returns what `minimal` does; `images` are the minimal images, and the returned steps
    are those taken here: `extra_steps` for each.
    """
    found = ascend_steps(model, images, target_labels, step_size=step_size, steps=extra_steps)
    return found, torch.full_like(target_labels, extra_steps)
