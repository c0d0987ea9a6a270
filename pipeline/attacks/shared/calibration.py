"""What `step_size` and `extra_steps` do to the size of the perturbations."""

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import ascend, ascend_steps
from pipeline.attacks.shared.engine import run_to_first_success
from pipeline.attacks.shared.goals import Goal
from pipeline.metrics.calibration import ExtraStepsTrial, StepSizeTrial
from pipeline.metrics.outcomes import margins
from pipeline.models.inference import predict, to_unit_interval
from pipeline.ranges import Range


def calibrate(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    batch_size: int,
    step_size: float,
    *,
    step_sizes: tuple[Annotated[float, Range(0, 1000, low_open=True)], ...],
    most_extra_steps: Annotated[int, Range(1, 1000)],
    max_steps: Annotated[int, Range(1, 30000)],
) -> Iterator[StepSizeTrial | ExtraStepsTrial]:
    """Ascent to the first success at each step size, then each number of extra steps at `step_size`.

    images: float (n, c, h, w) in [0, 1], on the model's device; target_labels: int64 (n,).
    """

    def to_first_success(size: float) -> tuple[Tensor, Tensor, Tensor]:
        found, steps = run_to_first_success(
            ascend,
            model,
            lambda rows: to_unit_interval(images[rows], model),
            Goal(target_labels),
            batch_size,
            step_size=size,
            max_steps=max_steps,
        )
        return found, steps, margins(predict(model, found, batch_size), target_labels) > 0

    for size in sorted(step_sizes, reverse=True):
        found, steps, fooled = to_first_success(size)
        yield StepSizeTrial(
            size,
            fooled.float().mean().item(),
            steps[fooled].float().mean().item(),
            _mean_l2(found[fooled], images[fooled]),
        )
    found, _, fooled = to_first_success(step_size)
    found, targets, originals = found[fooled], target_labels[fooled], images[fooled]
    shortest = _mean_l2(found, originals)
    for extra_steps in range(1, most_extra_steps + 1):
        parts = zip(found.split(batch_size), targets.split(batch_size), strict=True)
        found = torch.cat(
            [ascend_steps(model, part, Goal(wanted), step_size=step_size, steps=1) for part, wanted in parts]
        )
        l2_mean = _mean_l2(found, originals)
        yield ExtraStepsTrial(extra_steps, l2_mean, l2_mean / shortest)


def _mean_l2(images: Tensor, originals: Tensor) -> float:
    return float((images - originals).flatten(1).norm(dim=1).mean())
