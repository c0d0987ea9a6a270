"""How a defense's success depends on the number of passes, and on how far the adversary went on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.metrics.intervals import mean_with_interval
from pipeline.metrics.votes import summarize_passes


@dataclass(frozen=True)
class TraceRow:
    """Shares thwarted and recovered, with their intervals, after so many further steps and of so many passes."""

    extra_steps: int
    passes: int
    originals: int
    thwarted: float
    thwarted_low: float
    thwarted_high: float
    recovered: float
    recovered_low: float
    recovered_high: float


def outcome_rates(logits: Tensor, labels: Tensor, target_labels: Tensor) -> dict[str, float]:
    """Shares thwarted and recovered with their intervals, of images one to an original.

    logits : float (n, passes, k). labels, target_labels : int64 (n,).
    """
    predicted = summarize_passes(logits)["predicted"]
    rates: dict[str, float] = {}
    for name, outcome in (("thwarted", predicted != target_labels), ("recovered", predicted == labels)):
        rate = mean_with_interval(outcome.cpu().numpy())
        rates |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
    return rates


def trace(
    passes_over: Callable[[Tensor, str], Tensor],
    carry_on: Callable[[Tensor, int], Tensor],
    images: Tensor,
    labels: Tensor,
    target_labels: Tensor,
    passes: tuple[int, ...],
    extra_steps: tuple[int, ...],
) -> list[TraceRow]:
    """Thwarted and recovered after fewer passes, and after more steps of the attack.

    Parameters
    ----------
    passes_over : (images, a name for the random numbers) to logits (n, passes, k).
    carry_on : (images, steps) to images that many steps further.
    images : minimal adversarial images, float (n, c, h, w), one to an original.
    passes, extra_steps : what to measure at; passes up to those that `passes_over` makes.

    Returns
    -------
    First each of `passes` on the images as they are, then each of `extra_steps` with all passes.
    """
    rows = []
    logits = passes_over(images, "passes")
    for count in passes:
        rates = outcome_rates(logits[:, :count], labels, target_labels)
        rows.append(TraceRow(0, count, len(images), **rates))
    taken = 0
    for steps in sorted(extra_steps):
        images = carry_on(images, steps - taken)
        taken = steps
        with torch.inference_mode():
            logits = passes_over(images, f"{steps} extra steps")
        rates = outcome_rates(logits, labels, target_labels)
        rows.append(TraceRow(steps, logits.shape[1], len(images), **rates))
    return rows
