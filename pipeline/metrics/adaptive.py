"""What adaptive attacks say of a defense: robust accuracy, the perturbation needed, and whether to believe it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.metrics.detection import MANY_PASSES, ONE_PASS, detection
from pipeline.metrics.intervals import RESAMPLES, Rate, bootstrap_mean

ZERO_GRADIENTS = 0.1  # share of images from which on the tripwire is raised


@dataclass(frozen=True)
class Check:
    """A number about the defense as a function, see `attacks.adaptive.check_gradients`, and its cost.

    cost : multiply-adds of the defense's prediction of an image, over those of one pass of the classifier.
    """

    zero_gradients: float
    softmax: float
    random: float
    cost: float


def broken_within(examples: pd.DataFrame, epsilon: float) -> NDArray[np.bool_]:
    """For each original, in order, whether it is wrong as it is or was broken within epsilon; bool (originals,)."""
    tried = examples[examples["attack"].isin(("none", "pgd"))]
    tried = tried[tried["epsilon"].fillna(0) <= epsilon * (1 + 1e-9)]
    broken: NDArray[np.bool_] = tried.groupby("original")["broken"].any().to_numpy(bool, copy=True)
    return broken


def median_with_interval(values: NDArray[np.floating[Any]]) -> dict[str, float | None]:
    """Median of values, infinite ones among them, with its 95 % bootstrap interval; None stands for infinite."""
    random = np.random.default_rng(0)
    drawn = [np.median(random.choice(values, len(values))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    found = {"value": float(np.median(values)), "low": float(low), "high": float(high)}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def summarize_adaptive(
    examples: pd.DataFrame, settings: Mapping[str, Any], check: Mapping[str, float], static: pd.DataFrame
) -> dict[str, Any]:
    """adaptive.<defense>: <norm>.<epsilon>, l2_median, sanity, detection, tripwires, cost.

    examples : a row per original and attack, columns as `data/README.md` describes. settings : of `AdaptiveSettings`.
    check : of `Check`. static : this defense's rows of the detection table, of which the score that does best on
    static minimal images is taken.
    """
    budget = settings["budget"]
    curve = {0.0: broken_within(examples, 0.0)}
    curve |= {epsilon: broken_within(examples, epsilon) for epsilon in sorted(settings["epsilons"])}
    summary: dict[str, Any] = {
        "setting": "adaptive",
        "originals": len(curve[0.0]),
        "settings": dict(settings),
        settings["norm"]: {f"{epsilon:g}": bootstrap_mean(~broken).as_dict() for epsilon, broken in curve.items()},
        "l2_median": median_with_interval(_needed(examples)),
        "cost": check["cost"],
    }
    at_budget = curve[budget]
    doubled = examples[examples["attack"] == "pgd_doubled"]
    more = at_budget.copy()
    more[doubled.loc[doubled["broken"], "original"]] = True
    # Of what the doubled attack was tried on, it need not break the same images: robust against it alone.
    alone = broken_within(examples, _before(settings["epsilons"], budget))
    alone[doubled.loc[doubled["broken"], "original"]] = True
    summary["doubled"] = {
        "robust_accuracy": bootstrap_mean(~alone).as_dict(),
        "change": bootstrap_mean(at_budget.astype(float) - alone).as_dict(),
    }
    summary["every_attack"] = bootstrap_mean(~_by_any(examples, more)).as_dict()
    summary["sanity"] = _sanity(examples, at_budget, settings["sanity_originals"])
    summary["detection"] = _detection(examples, static)
    summary["tripwires"] = _tripwires(summary, settings, check)
    return summary


def _needed(examples: pd.DataFrame) -> NDArray[np.float64]:
    """L2 norm that each original needs: 0 where it is wrong as it is, infinite where nothing was found."""
    clean = examples[examples["attack"] == "none"].sort_values("original")
    needed = np.where(clean["broken"], 0.0, np.inf)
    shortest = examples[(examples["attack"] == "shortest") & examples["broken"]]
    needed[shortest["original"]] = shortest["l2"]
    return needed


def _before(epsilons: tuple[float, ...], budget: float) -> float:
    return max((epsilon for epsilon in epsilons if epsilon < budget), default=0.0)


def _by_any(examples: pd.DataFrame, broken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = broken.copy()
    others = examples[examples["attack"].isin(("quiet", "transfer", "square", "autoattack")) & examples["broken"]]
    found[others["original"].unique()] = True
    return found


def _sanity(examples: pd.DataFrame, at_budget: NDArray[np.bool_], count: int) -> dict[str, Any]:
    """Robust accuracy at the budget on the first originals: under our attack, and under each outside one."""
    wrong = broken_within(examples, 0.0)[:count]
    rates = {"adaptive": bootstrap_mean(~at_budget[:count]).as_dict()}
    for attack in ("transfer", "square", "autoattack"):
        rows = examples[examples["attack"] == attack]
        if len(rows) or wrong.all():
            broken = wrong.copy()
            broken[rows.loc[rows["broken"], "original"]] = True
            rates[attack] = bootstrap_mean(~broken).as_dict()
    return rates


def _detection(examples: pd.DataFrame, static: pd.DataFrame) -> dict[str, Any] | None:
    """AUC of the score that is best on static minimal images, on images made to evade it; None if none got through."""
    rows = static[(static["attack"] == "minimal") & (static["negatives"] == "clean")]
    best = rows.loc[rows["auc"].idxmax()]
    score = str(best["score"])
    quiet = examples[(examples["attack"] == "quiet") & examples["broken"]]
    clean = examples[(examples["attack"] == "none") & ~examples["broken"]]
    if len(quiet) < 2 or len(clean) < 2:
        return None
    sign = {**ONE_PASS, **MANY_PASSES}[score]
    found = detection(
        sign * quiet[score].to_numpy(), sign * clean[score].to_numpy(), quiet["original"].to_numpy(),
        clean["original"].to_numpy(), True,
    )  # fmt: skip
    return {"score": score, "images": len(quiet), "static_auc": float(best["auc"]), **found}


def _tripwires(
    summary: Mapping[str, Any], settings: Mapping[str, Any], check: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Signs that a figure is not what it seems: whether each is raised, and the number it looks at."""
    sanity, curve = summary["sanity"], summary[settings["norm"]]
    largest = curve[f"{max(settings['epsilons']):g}"]
    change, rate = summary["doubled"]["change"], curve[f"{settings['budget']:g}"]
    # How much lower than under our attack: above zero, the outside attack is the stronger one.
    lower = [sanity["adaptive"]["value"] - sanity[name]["value"] for name in ("transfer", "square") if name in sanity]
    margin = sanity["adaptive"]["value"] - sanity["adaptive"]["low"]
    return {
        "zero_gradients": _wire(check["zero_gradients"], check["zero_gradients"] > ZERO_GRADIENTS),
        "softmax": _wire(check["softmax"], check["softmax"] > 0),
        "random": _wire(check["random"], check["random"] > 0),
        "black_box": _wire(max(lower, default=0.0), max(lower, default=0.0) > margin),
        "largest_epsilon": _wire(largest["value"], largest["value"] > 0),
        "doubled": _wire(
            abs(change["value"]), abs(change["value"]) > max(rate["value"] - rate["low"], rate["high"] - rate["value"])
        ),
    }


def _wire(value: float, raised: bool) -> dict[str, Any]:
    return {"value": float(value), "raised": bool(raised)}


def robust_rate(summary: Mapping[str, Any]) -> Rate:
    """Robust accuracy at the stated budget."""
    settings = summary["settings"]
    return Rate(**summary[settings["norm"]][f"{settings['budget']:g}"])
