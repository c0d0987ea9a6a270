"""Tables of the Generative Adversarial Classifier's trainings, averaged (paper, Section 3.3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipeline.metrics.gains import CONTROLS, GAC, MEAN
from pipeline.metrics.intervals import Rate
from pipeline.metrics.trainings import over_trainings


def gains_on(compared: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """<attack>.over_<control>: the gain in images recovered on every attack's images, mean over trainings.

    compared : by control, what `compare_evaluations` and `judge_differences` say of the GAC over it.
    """
    found: dict[str, dict[str, Any]] = {}
    for control, by in compared.items():
        for attack, outcomes in by.items():
            found.setdefault(attack, {})[f"over_{control}"] = dict(outcomes["recovered"])
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
