"""The two choices behind the adversarial sets: how large a step, and how many steps past the boundary."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

# The paper's mean L2 of extended over that of minimal perturbations on CIFAR-10 (Table 1).
PAPER_RATIO = 0.651 / 0.418
TOLERANCE = 1.05


@dataclass(frozen=True)
class StepSizeTrial:
    """`minimal` at one step size: over the fooled images, mean L2 and mean steps."""

    step_size: float
    success_rate: float
    steps_mean: float
    l2_mean: float


@dataclass(frozen=True)
class ExtraStepsTrial:
    """`extended` after some extra steps: mean L2, and its ratio to that of the minimal images."""

    extra_steps: int
    l2_mean: float
    ratio: float


def choose_step_size(step_sizes: pd.DataFrame) -> float | None:
    """The largest step size whose mean L2 is within 5 % of that of a quarter of it.

    `step_sizes`: a row per StepSizeTrial. Only sizes whose quarter was tried too come into question;
    None if it holds for none of them.
    """
    l2 = dict(zip(step_sizes["step_size"], step_sizes["l2_mean"], strict=True))
    fit = [
        size
        for size in l2
        for quarter in l2
        if abs(quarter - size / 4) < 1e-6 * size and l2[size] <= TOLERANCE * l2[quarter]
    ]
    return float(max(fit)) if fit else None


def choose_extra_steps(extra_steps: pd.DataFrame) -> int:
    """The number of extra steps whose ratio is nearest to the paper's 1.56; a row per ExtraStepsTrial."""
    nearest = (extra_steps["ratio"] - PAPER_RATIO).abs().idxmin()
    return int(extra_steps.loc[nearest, "extra_steps"])


def summarize_calibration(
    step_sizes: pd.DataFrame, extra_steps: pd.DataFrame, step_size: float, steps: int
) -> dict[str, Any]:
    """What the rules choose beside what the sets were made with."""
    return {
        "step_size": {"by_rule": choose_step_size(step_sizes), "used": step_size},
        "extra_steps": {"by_rule": choose_extra_steps(extra_steps), "used": steps, "paper_ratio": PAPER_RATIO},
    }
