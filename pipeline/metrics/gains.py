"""What the Generative Adversarial Classifier gains over its controls, and how sure that is (paper, Section 3.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from pipeline.metrics.intervals import Rate, bootstrap_mean

VERSIONS = ("gac_vanilla", "gac_dcgan")
MEAN = -1  # number of "all trainings together"
EACH_CLASS = 2  # generated images that are shown of every class
GAC, CONTROLS = "gac", ("control", "noise_control")


@dataclass(frozen=True)
class GacTrial:
    """A training at one lambda, judged on adversarial images whose originals no training has seen.

    images : how many; accuracy, control_accuracy : share classified as the original label; gain : their difference,
    95 % over originals. clean_accuracy : on unseen originals without perturbation. perturbation_l2, fooled : what the
    generator does with those. status : "ok", or why the training failed; figures are then empty.
    """

    defense: str
    lambda_: float
    epochs: int
    images: int
    status: str
    clean_accuracy: float | None = None
    control_clean_accuracy: float | None = None
    accuracy: float | None = None
    control_accuracy: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    perturbation_l2: float | None = None
    fooled: float | None = None


@dataclass(frozen=True)
class Accuracy:
    """One trained model on one kind of image: share classified as the original label.

    seed : number of the training; MEAN: all of them together. part : "seen" and "unseen" by the training, both of the
    train split, and "test". gain : of the GAC over this control, image by image, 95 % over originals; empty for the
    GAC itself. perturbation_l2, fooled : of the GAC on clean images, what its generator does, see `GacEpoch`.
    """

    seed: int
    model: str
    attack: str
    part: str
    images: int
    accuracy: float
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    perturbation_l2: float | None = None
    fooled: float | None = None


def compare_accuracy(
    seed: int, attack: str, part: str, right: Mapping[str, NDArray[Any]], originals: NDArray[np.integer[Any]]
) -> list[Accuracy]:
    """A row per model, from which images (n,) each gets right, or from the share of trainings in which it does.

    The GAC is compared with every other.
    """
    rows = []
    for model, correct in right.items():
        gain: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
        if model != GAC:
            difference = bootstrap_mean(right[GAC] * 1.0 - correct, originals, signed=True)
            gain = difference.value, difference.low, difference.high
        rows.append(Accuracy(seed, model, attack, part, len(correct), float(correct.mean()), *gain))
    return rows


def find_changes(
    labels: NDArray[np.uint8],
    before: NDArray[np.integer[Any]],
    after: NDArray[np.integer[Any]],
    kinds: Sequence[tuple[int, int]],
    most: int,
) -> list[int]:
    """Rows of at most `most` images that were classified rightly and no longer are, one of each (before, after).

    First of `kinds`, in that order, those that occur; then of others. All arrays int (n,).
    """
    first: dict[tuple[int, int], int] = {}
    for row in np.flatnonzero((before == labels) & (after != before)).tolist():
        first.setdefault((int(before[row]), int(after[row])), row)
    found = [kind for kind in kinds if kind in first]
    found += [kind for kind in sorted(first) if kind not in found]
    return [first[kind] for kind in found[:most]]


def mean_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by epoch, mean over trainings: a column `<model>_<split>` each. `curves`: rows of GacEpoch."""
    wide = curves.pivot_table(index="epoch", columns=["model", "split"], values="accuracy", aggfunc="mean", sort=False)
    wide.columns = pd.Index([f"{model}_{split}" for model, split in wide.columns])
    return wide.reset_index()


def over_trainings(values: NDArray[np.floating[Any]], originals: Rate | None = None) -> Rate:
    """Mean of one value per training, two or more, with its 95 % interval.

    Student's over the trainings; with `originals`, the interval of the same mean over the choice of originals, the two
    half-widths are added in squares.
    """
    count = len(values)
    mean = float(values.mean())
    half = float(student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    low, high = (
        (half, half)
        if originals is None
        else (np.hypot(half, originals.value - originals.low), np.hypot(half, originals.high - originals.value))
    )
    return Rate(mean, mean - float(low), mean + float(high))


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
