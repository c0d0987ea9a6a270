"""Tables of the Generative Adversarial Classifier's trainings, averaged (paper, Section 3.3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit  # of Student's t; `scipy.stats` takes a second to import

from pipeline.metrics.gains import CONTROLS, GAC, MEAN
from pipeline.metrics.intervals import Rate


def over_trainings(values: NDArray[np.floating[Any]], originals: Rate | None = None) -> Rate:
    """Mean of one value per training, two or more, with its 95 % interval.

    Student's over the trainings; with `originals`, the interval of the same mean over the choice of originals, the two
    half-widths are added in squares.
    """
    count = len(values)
    mean = float(values.mean())
    half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
    low, high = (
        (half, half)
        if originals is None
        else (np.hypot(half, originals.value - originals.low), np.hypot(half, originals.high - originals.value))
    )
    return Rate(mean, mean - float(low), mean + float(high))


def gains_on(
    gain: Mapping[str, Mapping[str, Any]], one_training: Mapping[str, Mapping[str, Any]], trainings: int, originals: int
) -> dict[str, dict[str, Any]]:
    """<attack>.over_<control>: the gain on every attack's images, {value, low, high, trainings, originals}.

    gain : of `summarize_gac`, mean over `trainings`, on images of so many `originals`. one_training : by control, what
    `compare_evaluations` says of the first training over it; used where the former has nothing.
    """
    found: dict[str, dict[str, Any]] = {}
    for attack, by in gain.items():
        found[attack] = {over: {**rate, "trainings": trainings, "originals": originals} for over, rate in by.items()}
    for control, by in one_training.items():
        for attack, outcomes in by.items():
            found.setdefault(attack, {}).setdefault(f"over_{control}", {**outcomes["recovered"], "trainings": 1})
    return found


def summarize_gac(accuracies: pd.DataFrame, robustness: pd.DataFrame, failed: pd.DataFrame) -> dict[str, Any]:
    """gain.<attack>.<over>: mean over trainings with its interval; what images cost that are made against each model.

    accuracies : rows of Accuracy. robustness : a row per training, model, original and target, with `l2`, empty where
    the attack gave up. failed : `seed` and `status` of trainings that came to nothing. With one training the interval
    is over originals alone, and says so.
    """
    each = accuracies[accuracies["seed"] != MEAN]
    together = accuracies[accuracies["seed"] == MEAN].set_index(["attack", "part", "model"])
    count = each["seed"].nunique()
    summary: dict[str, Any] = {
        "setting": "transfer",
        "trainings": count,
        "failed": failed[["seed", "status"]].to_dict("records"),
        "interval": "over trainings and originals" if count > 1 else "over originals",
        "accuracy": {},
        "gain": {},
        "generator": {},
    }
    for (attack, part, model), rows in each.groupby(["attack", "part", "model"], sort=False):
        where = summary["accuracy"].setdefault(attack, {}).setdefault(part, {})
        where[model] = float(rows["accuracy"].mean())
        if model == GAC:
            if attack == "clean":
                made = rows[["perturbation_l2", "fooled"]].mean()
                summary["generator"][part] = {name: float(value) for name, value in made.items()}
            continue
        if part == "test":
            row = together.loc[(attack, part, model)]
            originals = Rate(float(row["gain"]), float(row["gain_low"]), float(row["gain_high"]))
            rate = over_trainings(rows["gain"].to_numpy(), originals) if count > 1 else originals
            summary["gain"].setdefault(attack, {})[f"over_{model}"] = rate.as_dict()
    medians = robustness.assign(l2=robustness["l2"].fillna(np.inf)).groupby(["seed", "model"])["l2"].median().unstack()
    summary["minimal_against_it"] = {
        "setting": "adaptive",
        "originals": int(robustness.groupby("seed")["original_row"].nunique().mean()),
        "l2_median": {model: _finite(float(medians[model].mean())) for model in medians},
        "success_rate": {
            str(model): float(rows["l2"].notna().mean()) for model, rows in robustness.groupby("model", sort=False)
        },
        "l2_ratio": {},
    }
    for control in CONTROLS:
        ratios = (medians[GAC] / medians[control]).to_numpy()
        if not np.isfinite(ratios).all():
            continue
        ratio = (
            over_trainings(ratios).as_dict() if count > 1 else {"value": float(ratios[0]), "low": None, "high": None}
        )
        summary["minimal_against_it"]["l2_ratio"][f"over_{control}"] = ratio
    return summary


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
