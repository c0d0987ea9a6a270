"""Runs an attack over many images: a full batch of unfinished images at every pass.

Cost: one forward and backward pass per image and step, and one more to see the success; weights get
no gradients. The images are those of the attack's plain loop, up to the rounding that a batch's
composition brings (exactly those in float64, tested).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import forward
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.precision import for_gradients, reached
from pipeline.attacks.shared.protocol import Attack
from pipeline.errors import PipelineError
from pipeline.models.inference import to_unit_interval
from pipeline.models.modes import frozen
from pipeline.models.precision import Precision

Advance = Callable[[int, int | None], object]


def run_attack(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    image_rows: Tensor,
    goal: Goal,
    batch_size: int,
    advance: Advance = lambda finished, fooled: None,
    generator: torch.Generator | None = None,
    **arguments: Any,
) -> tuple[Tensor, Tensor]:
    """Attack `images[image_rows]`, in the model's precision unless the attack's `precision` says otherwise.

    Parameters
    ----------
    images : uint8, or float in [0, 1], (m, c, h, w) on the model's device; uint8 is divided by 255.
    image_rows : int64 (n,), on the same device: one adversarial image per entry.
    goal : of each of these n images; `Goal(target_labels)` towards targets.
    advance : called with how many images finished, and how many of them reached their goal, None where the attack does
        not say (asking the model again costs FGSM a third).
    generator : for an attack that draws random numbers.
    arguments : the attack's keyword arguments.

    Returns
    -------
    Adversarial images float (n, c, h, w) and steps int64 (n,), in the order of `image_rows`. Where an attack makes an
    image of what is no number, the original.

    Raises PipelineError if the attack cannot go this way, see `Attack.check`, images lie outside of [0, 1], or what is
    given does not fit together.
    """
    attack.check(goal.targeted, *images.shape[2:])
    if batch_size < 1 or len(goal.labels) != len(image_rows):
        raise PipelineError(
            f"expected a batch size of 1 or more, and a label for each of {len(image_rows)} rows; found "
            f"{batch_size} and {len(goal.labels)} labels"
        )
    if images.dtype != torch.uint8 and images.numel():
        low, high = torch.stack(images.aminmax()).tolist()  # one wait for a GPU
        if not (low >= 0 and high <= 1):
            raise PipelineError(f"images: expected uint8, or floats in [0, 1], found {low:g} to {high:g}: scale them")

    def start(rows: Tensor) -> Tensor:
        return to_unit_interval(images[image_rows[rows]], model)

    if attack.first_success_update:
        return run_to_first_success(attack.first_success_update, model, start, goal, batch_size, advance, **arguments)
    found, steps = [], []
    for rows in torch.arange(len(image_rows), device=image_rows.device).split(batch_size):
        part, taken = attack(model, start(rows), goal.at(rows), generator, **arguments)
        sound = part.flatten(1).sum(1).isfinite()[:, None, None, None]
        found.append(torch.where(sound, part, start(rows)))
        steps.append(taken)
        advance(len(rows), None)
    return torch.cat(found), torch.cat(steps)


def run_to_first_success(
    update: Callable[..., Tensor],
    model: nn.Module,
    start: Callable[[Tensor], Tensor],
    goal: Goal,
    batch_size: int,
    advance: Advance = lambda finished, fooled: None,
    *,
    max_steps: int,
    precision: Precision = "float32",
    **arguments: Any,
) -> tuple[Tensor, Tensor]:
    """Repeat `update(images, gradients, **arguments)` on each image until it reaches its goal.

    Finished images leave the batch and new ones take their slots. `start` gives the images, in
    [0, 1], at the rows that it is called with. Returns what `run_attack` does. An image that a step does not move, or
    makes no number of, never will reach its goal: it leaves too.

    Who sits where is the host's business: it waits for the device once a step, to hear who is fooled or stuck (in
    bfloat16 twice), and does its part during the backward pass. When no image is left to enter, the batch shrinks: on a
    CPU with every one that leaves, on a GPU by halves, for there every new shape costs more than the passes of empty
    slots.
    """
    count, device = len(goal.labels), goal.labels.device

    def there(numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(numbers).to(device, non_blocking=True)

    held = np.arange(min(batch_size, count))  # which image each slot holds
    taken, entered = np.zeros_like(held), len(held)
    empty = np.zeros(len(held), dtype=bool)
    stuck = torch.zeros(len(held), dtype=torch.bool, device=device)
    images, aim = start(there(held)), goal.at(there(held))
    finished_images = images.new_empty((count, *images.shape[1:]))
    finished_steps = np.zeros(count, dtype=np.int64)
    with frozen(model):
        climbed = for_gradients(model, precision)
        while len(held):
            logits, backward = forward(climbed, images)
            told = torch.stack([reached(model, climbed, images, logits, aim), stuck]).cpu().numpy() & ~empty
            fooled, still = told
            raised = update(images, backward(aim.raised), **arguments)
            stuck = (raised == images).flatten(1).all(1) | ~raised.flatten(1).sum(1).isfinite()
            leaving = np.flatnonzero(fooled | (still | (taken >= max_steps)) & ~empty)
            taken += 1
            if len(leaving):
                left = images[there(leaving)]
                if still.any():
                    sound = left.flatten(1).sum(1).isfinite()[:, None, None, None]
                    left = torch.where(sound, left, start(there(held[leaving])))
                finished_images[there(held[leaving])] = left
                finished_steps[held[leaving]] = taken[leaving] - 1
                advance(len(leaving), int(fooled.sum()))
                fresh = np.arange(entered, min(entered + len(leaving), count))
                slots = leaving[: len(fresh)]
                if len(fresh):
                    raised[there(slots)] = start(there(fresh))
                    stuck[there(slots)] = False
                    held[slots], taken[slots] = fresh, 0
                    entered += len(fresh)
                empty[leaving[len(fresh) :]] = True
                kept = _slots(len(held), int((~empty).sum()), device.type == "cuda")
                if kept < len(held):
                    stays = np.argsort(empty, kind="stable")[:kept]
                    raised, stuck = raised[there(stays)], stuck[there(stays)]
                    held, taken, empty = held[stays], taken[stays], empty[stays]
                aim = goal.at(there(held))
            images = raised
    return finished_images, torch.from_numpy(finished_steps).to(device)


def _slots(slots: int, unfinished: int, by_halves: bool) -> int:
    """How many slots are kept: as many as there are unfinished images, or half as many as long as these fit."""
    if not by_halves:
        return unfinished
    while slots and slots // 2 >= unfinished:
        slots //= 2
    return slots
