"""Extended perturbation adversaries: the minimal ones' ascent carried on (paper, Section 2.2)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import ascend_steps
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.precision import for_gradients
from pipeline.attacks.shared.protocol import Attack
from pipeline.models.precision import Precision
from pipeline.ranges import Range


def extended(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    *,
    step_size: Annotated[float, Range(0, 1000, low_open=True)],
    extra_steps: Annotated[int, Range(0, 15000)],
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor]:
    """Continue the trajectory of `minimal` by `extra_steps` steps of the same `step_size`.

    Takes and returns what `minimal` does; `images` are the minimal images, and the returned steps
    are those taken here: `extra_steps` for each.
    """
    climbed = for_gradients(model, precision)
    found = ascend_steps(climbed, images, goal, step_size=step_size, steps=extra_steps)
    return found, torch.full_like(goal.labels, extra_steps)


attack = Attack(run=extended)
