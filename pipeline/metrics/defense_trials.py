"""How strong the randomness of a defense should be, chosen on validation images."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

# At most this share of the attacked validation originals may be lost, to the nearest original.
ALLOWED_LOSS = 0.01


@dataclass(frozen=True)
class DefenseTrial:
    """A defense at one strength (dropout rate, or sigma of the noise), on so many originals."""

    defense: str
    strength: float
    originals: int
    clean_accuracy: float
    thwarted: float
    recovered: float


def choose_strengths(trials: pd.DataFrame) -> dict[str, float | None]:
    """The dropout rate, and the noise of equal clean accuracy; a row of `trials` per DefenseTrial.

    The rate is the largest tried that loses at most 1 % of the attacked originals (one of 93, five of 501), so that it
    leaves a margin above the 98 % asked for; the sigma's clean accuracy is nearest to that rate's, the larger one of
    two equally near. None for both if every rate loses more.
    """
    dropout = trials[trials["defense"] == "dropout_ensemble"]
    lost = ((1 - dropout["clean_accuracy"]) * dropout["originals"]).round()
    kept = dropout[lost <= (ALLOWED_LOSS * dropout["originals"]).round()]
    if kept.empty:
        return {"dropout_ensemble": None, "gaussian_noise_ensemble": None}
    rate = kept.loc[kept["strength"].idxmax()]
    noise = trials[trials["defense"] == "gaussian_noise_ensemble"].sort_values("strength", ascending=False)
    nearest = (noise["clean_accuracy"] - rate["clean_accuracy"]).abs().idxmin()
    return {
        "dropout_ensemble": float(rate["strength"]),
        "gaussian_noise_ensemble": float(noise.loc[nearest, "strength"]),
    }


def summarize_trials(trials: pd.DataFrame, used: dict[str, float]) -> dict[str, Any]:
    """What the rule chooses beside what the defenses were evaluated with."""
    chosen = choose_strengths(trials)
    return {name: {"by_rule": chosen[name], "used": used[name]} for name in chosen}
