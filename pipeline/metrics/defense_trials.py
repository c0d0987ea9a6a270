"""How strong the randomness of a defense should be, chosen on validation images."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

# At least this share of the attacked validation originals must stay right.
CLEAN_FLOOR = 0.99


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

    The rate is the largest tried that keeps 99 % of the attacked originals right, so that it leaves a margin
    above the 98 % asked for; the sigma's clean accuracy is nearest to that rate's, the larger one of two
    equally near. None for both if no rate keeps that many.
    """
    dropout = trials[trials["defense"] == "dropout_ensemble"]
    kept = dropout[dropout["clean_accuracy"] >= CLEAN_FLOOR]
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
