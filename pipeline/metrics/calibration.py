"""The two choices behind the adversarial sets: how large a step, and how many steps past the boundary."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.metrics.choices import Choice

# The paper's mean L2 of extended over that of minimal perturbations on CIFAR-10 (Table 1).
PAPER_RATIO = 0.651 / 0.418
TOLERANCE = 1.05
STEP_RULE = "the largest step size whose mean L2 is within 5 % of that of a quarter of it"
STEP_REASON = "a smaller step would find images hardly nearer, at many times the passes; the paper gives no step size"
EXTRA_RULE = (
    f"mean L2 nearest to the paper's {PAPER_RATIO:.2f} times the minimal images'; the smaller of two equally near"
)
EXTRA_REASON = "the paper tells neither how many steps nor how large: its Table 1 tells how much further they go"


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


def choose_step_size(trials: Sequence[StepSizeTrial]) -> Choice:
    """The largest step size whose mean L2 is within 5 % of that of a quarter of it.

    Only sizes whose quarter was tried too come into question; None if it holds for none of them.
    """
    l2 = {trial.step_size: trial.l2_mean for trial in trials}
    fit = [size for size, quarter in with_quarter(l2).items() if l2[size] <= TOLERANCE * l2[quarter]]
    tried = [vars(trial) for trial in trials]
    return Choice(float(max(fit)) if fit else None, STEP_RULE, tried, reason=STEP_REASON)


def with_quarter(sizes: Iterable[float]) -> dict[float, float]:
    """The step sizes whose quarter is among them too, with it."""
    known = list(sizes)
    return {size: quarter for size in known for quarter in known if abs(quarter - size / 4) < 1e-6 * size}


def choose_extra_steps(trials: Sequence[ExtraStepsTrial]) -> Choice:
    """The number of extra steps whose ratio is nearest to the paper's 1.56; the smaller of two equally near.

    None if there is no ratio: no trial image was fooled.
    """
    known = [trial for trial in trials if math.isfinite(trial.ratio)]
    nearest = min(known, key=lambda trial: (abs(trial.ratio - PAPER_RATIO), trial.extra_steps), default=None)
    return Choice(
        nearest.extra_steps if nearest else None, EXTRA_RULE, [vars(trial) for trial in trials], reason=EXTRA_REASON
    )
