"""What `step_size` and `extra_steps` do to the size of the perturbations."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import ascend, ascend_steps
from pipeline.attacks.shared.engine import run_to_first_success
from pipeline.attacks.shared.goals import Goal
from pipeline.mapper import in_order
from pipeline.metrics.calibration import ExtraStepsTrial, StepSizeTrial
from pipeline.metrics.outcomes import margins
from pipeline.models.inference import predict, to_unit_interval


def try_step_sizes(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    batch_size: int,
    *,
    step_sizes: Sequence[float],
    max_steps: int,
) -> Iterator[StepSizeTrial]:
    """Ascent to the first success at each step size, from the largest.

    images : float (n, c, h, w) in [0, 1], on the model's device. target_labels : int64 (n,).
    """
    task = partial(try_step_size, model, images, target_labels, batch_size, max_steps)
    return in_order("try step size", task, sorted(step_sizes, reverse=True))


def try_step_size(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    batch_size: int,
    max_steps: int,
    size: float,
    advance: Callable[..., object],
) -> StepSizeTrial:
    """A task of the mapper: the ascent at one step size."""
    found, steps, fooled = _to_first_success(model, images, target_labels, batch_size, size, max_steps)
    return StepSizeTrial(
        size,
        fooled.float().mean().item(),
        steps[fooled].float().mean().item(),
        _mean_l2(found[fooled], images[fooled]),
    )


def try_extra_steps(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    batch_size: int,
    *,
    step_size: float,
    most_extra_steps: int,
    max_steps: int,
) -> Iterator[ExtraStepsTrial]:
    """Ascent to the first success at `step_size`, then each number of extra steps up to the most."""
    found, _, fooled = _to_first_success(model, images, target_labels, batch_size, step_size, max_steps)
    found, targets, originals = found[fooled], target_labels[fooled], images[fooled]
    shortest = _mean_l2(found, originals)
    for extra_steps in range(1, most_extra_steps + 1):
        parts = zip(found.split(batch_size), targets.split(batch_size), strict=True)
        found = torch.cat(
            [ascend_steps(model, part, Goal(wanted), step_size=step_size, steps=1) for part, wanted in parts]
        )
        l2_mean = _mean_l2(found, originals)
        yield ExtraStepsTrial(extra_steps, l2_mean, l2_mean / shortest)


def _to_first_success(
    model: nn.Module, images: Tensor, target_labels: Tensor, batch_size: int, step_size: float, max_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, steps, and which of them are fooled."""
    found, steps = run_to_first_success(
        ascend,
        model,
        lambda rows: to_unit_interval(images[rows], model),
        Goal(target_labels),
        batch_size,
        step_size=step_size,
        max_steps=max_steps,
    )
    return found, steps, margins(predict(model, found, batch_size), target_labels) > 0


def _mean_l2(images: Tensor, originals: Tensor) -> float:
    return float((images - originals).flatten(1).norm(dim=1).mean())
