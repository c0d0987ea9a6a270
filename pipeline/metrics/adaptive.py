"""What adaptive attacks say of a defense: robust accuracy, the perturbation needed, and whether to believe it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.metrics.detection import SCORES
from pipeline.metrics.intervals import RESAMPLES, difference_with_interval, mean_with_interval
from pipeline.metrics.roc import detection

ZERO_GRADIENTS = 0.1  # share of images from which on the tripwire is raised
SURE = 0.05  # exact p of a McNemar test below which a difference raises a wire
CONVERGED = 0.01  # of robust accuracy: a doubling that moves it by less is the last, and one by as much raises a wire
ROUNDING = 1e-6  # of a norm, as a share: x + d - x is not d
# Of attempts: against another defense than the one in question, and what is made of the others.
NO_ATTACKS = ("fixed", "worst")
POINTS = 60  # of a curve
FEWEST = 10  # adversarial images that an AUC is measured on


@dataclass(frozen=True)
class Check:
    """A number about the defense as a function, see `attacks.shared.defended.check_gradients`, and its cost.

    cost : multiply-adds of the defense's prediction of an image, over those of one pass of the classifier.
    """

    zero_gradients: float
    softmax: float
    random: float
    cost: float


def check_same_budget(settings: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Raise PipelineError if not all defenses are attacked in one norm, within one budget; else none is comparable.

    settings : by defense, with `norm` and `budget`. where : names them in messages.
    """
    budgets = {name: {key: entry[key] for key in ("norm", "budget")} for name, entry in settings.items()}
    first, wanted = next(iter(budgets.items()))
    for name, found in budgets.items():
        if found != wanted:
            raise PipelineError(f"{where}: {name}: expected {first}'s {wanted}, found {found}")


def epsilon_needed(examples: pd.DataFrame, norm: str, attacks: tuple[str, ...] = ()) -> NDArray[np.float64]:
    """For each original, in order, the smallest budget within which one of these attacks broke it (all: none named).

    0 where it is wrong as it is, infinite where none did. An image lies within the budget that it was made for, and
    within its own norm.
    """
    tried = examples[~examples["attack"].isin(NO_ATTACKS)]
    if attacks:
        tried = tried[tried["attack"].isin(("none", *attacks))]
    within = tried[norm].where(tried["epsilon"].isna(), tried[["epsilon", norm]].min(axis=1)).astype(float)
    within = within.mask(tried["attack"] == "none", 0.0).where(tried["broken"], np.inf)
    needed: NDArray[np.float64] = within.groupby(tried["original"]).min().to_numpy(float)
    return needed


def median_with_interval(values: NDArray[np.floating[Any]]) -> dict[str, float | None]:
    """Median of values, infinite ones among them, with its 95 % bootstrap interval; None stands for infinite."""
    random = np.random.default_rng(0)
    drawn = [np.median(random.choice(values, len(values))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    found = {"value": float(np.median(values)), "low": float(low), "high": float(high)}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def broken_against_length(needed: NDArray[np.floating[Any]]) -> dict[str, list[float]]:
    """`l2` and the share `broken` within it, from 0, where that is the error rate, to the longest that was needed.

    needed : by original, 0 where it is wrong as it is, infinite where nothing was found. A step at each length that was
    needed, or, of more than POINTS originals, at as many quantiles of them.
    """
    lengths = np.unique(needed[np.isfinite(needed) & (needed > 0)])
    if len(lengths) > POINTS:
        lengths = np.unique(np.quantile(lengths, np.linspace(0, 1, POINTS), method="higher"))
    at = [0.0, *map(float, lengths)]
    return {"l2": at, "broken": [float((needed <= length).mean()) for length in at]}


def summarize_adaptive(
    examples: pd.DataFrame, settings: Mapping[str, Any], check: Mapping[str, float], static: pd.DataFrame
) -> dict[str, Any]:
    """adaptive.<defense>: clean_accuracy, <norm>.<epsilon>, every_attack, l2_*, sanity, detection, tripwires, cost.

    clean_accuracy : of the same originals, a random sample of the whole test split. <norm>.<epsilon> : robust accuracy,
    each original broken by whichever attack within epsilon; every_attack : the same at the budget. l2_median : of the
    L2 norm needed over all originals, of which one that is wrong as it is needs 0; l2_median_right : over the others,
    None if there are none; l2_curve : of `broken_against_length`. randomness : see `_randomness`.

    examples : a row per original and attack, columns as `data/README.md` describes. settings : as `AdaptiveSettings`
    describes them.
    check : of `Check`. static : this defense's rows of `Detected.chosen`: which score it detects static images by.
    """
    budget, norm = settings["budget"], settings["norm"]
    curve = _curve(examples, norm, budget, settings["epsilons"])
    right = curve[0.0]
    ours = epsilon_needed(examples, norm, ("pgd",)) <= budget * (1 + ROUNDING)
    # Of the images themselves, whatever budget they were made for.
    needed = epsilon_needed(examples.assign(epsilon=np.nan), "l2")
    others = tuple(name for name in settings["others"] if name not in settings["left_out"])
    summary: dict[str, Any] = {
        "setting": "adaptive",
        "originals": len(right),
        "settings": dict(settings),
        "clean_accuracy": mean_with_interval(right).as_dict(),
        norm: {f"{epsilon:g}": mean_with_interval(left).as_dict() for epsilon, left in curve.items()},
        "every_attack": mean_with_interval(curve[budget]).as_dict(),
        "l2_median": median_with_interval(needed),
        "l2_median_right": median_with_interval(needed[right]) if right.any() else None,
        "l2_curve": broken_against_length(needed),
        "randomness": _randomness(examples, settings["resubmissions"]),
        "doubled": _doubled(examples, ours, settings["doublings"]),
        "sanity": _sanity(examples, ours, settings["sanity_originals"], others),
        "detection": _detection(examples, static),
        "cost": check["cost"],
    }
    summary["tripwires"] = _tripwires(summary, settings, check)
    return summary


def _curve(
    examples: pd.DataFrame, norm: str, budget: float, epsilons: Sequence[float]
) -> dict[float, NDArray[np.bool_]]:
    """By epsilon, 0 first, which originals are right and stay so; bool (originals,).

    At the budget the last vote on the strongest image of all attacks decides; within a smaller one an original is
    broken where an attack broke it and that vote agrees, within a larger one where either does.
    """
    needed = epsilon_needed(examples, norm)
    last = _broken_by(examples, ("worst",), len(needed))
    # Not needed > 0: against chance, the shortest image can be the original itself.
    curve = {0.0: ~_broken_by(examples, ("none",), len(needed))}
    for epsilon in sorted(epsilons):
        broken = needed <= epsilon * (1 + ROUNDING)
        broken = last if epsilon == budget else broken & last if epsilon < budget else broken | last
        curve[epsilon] = curve[0.0] & ~broken
    return curve


def _randomness(examples: pd.DataFrame, resubmissions: int) -> dict[str, Any] | None:
    """What a randomized defense makes of the strongest image of each original, None of any other defense.

    The share of right answers: deployed_vote : of a vote of as many passes as it makes when it is used; single_query :
    of one pass; worst_of : all of `resubmissions` such votes right; fixed : robust accuracy of the defense with its
    random numbers fixed, attacked as such.
    """
    strongest = examples[examples["attack"] == "worst"].sort_values("original")
    if strongest["resubmitted"].isna().all():
        return None
    wrong = strongest["resubmitted"].to_numpy(float)
    fixed = examples[examples["attack"] == "fixed"]["broken"].to_numpy(bool)
    return {
        "resubmissions": resubmissions,
        "deployed_vote": mean_with_interval(1 - wrong / resubmissions).as_dict(),
        "single_query": mean_with_interval(strongest["label_share"].to_numpy(float)).as_dict(),
        "worst_of": mean_with_interval(wrong == 0).as_dict(),
        "fixed": mean_with_interval(~fixed).as_dict(),
    }


def _doubled(examples: pd.DataFrame, broken: NDArray[np.bool_], doublings: Mapping[str, int]) -> dict[str, Any]:
    """Robust accuracy under the ascent with `times` the steps, draws and runs, and what the last doubling changed.

    broken : by original, under the ascent as it is. times : 1 where that left nothing to double.
    """
    found = {"times": 1, "change": difference_with_interval(np.zeros(len(broken))).as_dict()}
    for name, times in doublings.items():
        if (examples["attack"] == name).any():
            more = broken | _broken_by(examples, (name,), len(broken))
            found = {"times": times, "change": difference_with_interval(broken.astype(float) - more).as_dict()}
            broken = more
    return {**found, "robust_accuracy": mean_with_interval(~broken).as_dict()}


def _broken_by(examples: pd.DataFrame, attacks: tuple[str, ...], count: int) -> NDArray[np.bool_]:
    """Which of `count` originals one of these attacks broke."""
    broken = np.zeros(count, bool)
    broken[examples.loc[examples["attack"].isin(attacks) & examples["broken"], "original"]] = True
    return broken


def over_undefended(examples: pd.DataFrame, undefended: pd.DataFrame, settings: Mapping[str, Any]) -> dict[str, Any]:
    """How far robust accuracy at the budget is above the undefended classifier's, original by original."""
    norm, budget = settings["norm"], settings["budget"]
    mine, its = (_curve(table, norm, budget, (budget,))[budget].astype(float) for table in (examples, undefended))
    return difference_with_interval(mine - its).as_dict()


def _sanity(
    examples: pd.DataFrame, at_budget: NDArray[np.bool_], count: int, others: tuple[str, ...]
) -> dict[str, Any]:
    """Robust accuracy at the budget on the first originals: under our attack, and under each other one.

    lead : how far robust accuracy under ours is above that under the other attack, original by original.
    """
    first = examples[examples["original"] < count]
    ours = at_budget[:count]
    wrong = _broken_by(first, ("none",), len(ours))
    rates: dict[str, Any] = {"adaptive": mean_with_interval(~ours).as_dict(), "lead": {}}
    for attack in ("transfer", *others):
        if (first["attack"] == attack).any() or wrong.all():
            broken = wrong | _broken_by(first, (attack,), len(wrong))
            rates[attack] = mean_with_interval(~broken).as_dict()
            rates["lead"][attack] = difference_with_interval(broken.astype(float) - ours).as_dict()
    return rates


def _detection(examples: pd.DataFrame, static: pd.DataFrame) -> dict[str, Any]:
    """The score that was chosen on static minimal images, with its AUC there, and on images made to evade it.

    static : of `Detected.chosen`: the AUC is of other originals than those that the score was chosen on.

    `adaptive` is None where fewer than FEWEST of those are misclassified. Either way the negatives are originals that
    the defense gets right.
    """
    chosen = static[(static["attack"] == "minimal") & (static["negatives"] == "clean")].iloc[0]
    score = str(chosen["score"])
    found: dict[str, Any] = {"score": score, "static_auc": float(chosen["auc"]), "adaptive": None}
    quiet = examples[(examples["attack"] == "quiet") & examples["broken"]]
    clean = examples[(examples["attack"] == "none") & ~examples["broken"]]
    if len(quiet) < FEWEST:
        return found
    sign = SCORES[score]
    measured = detection(
        sign * quiet[score].to_numpy(), sign * clean[score].to_numpy(), quiet["original"].to_numpy(),
        clean["original"].to_numpy(), True,
    )  # fmt: skip
    return {**found, "adaptive": {"images": len(quiet), **measured}}


def _tripwires(
    summary: Mapping[str, Any], settings: Mapping[str, Any], check: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Signs that a figure is not what it seems: whether each is raised, and the number it looks at."""
    sanity, curve = summary["sanity"], summary[settings["norm"]]
    largest = curve[f"{max(settings['epsilons']):g}"]
    change = summary["doubled"]["change"]
    free = settings["gradient_free"]

    def outdone(*names: str) -> dict[str, Any]:
        """Whether one of these other attacks surely leaves less than ours, and by how much at most."""
        leads = [sanity["lead"][name] for name in names if name in sanity["lead"]]
        surely = any(lead["value"] > 0 and lead["p"] < SURE for lead in leads)
        return _wire(max((lead["value"] for lead in leads), default=0.0), surely)

    return {
        "zero_gradients": _wire(check["zero_gradients"], check["zero_gradients"] > ZERO_GRADIENTS),
        "softmax": _wire(check["softmax"], check["softmax"] > 0),
        "random": _wire(check["random"], check["random"] > 0),
        "black_box": outdone("transfer", *free),
        **{name: outdone(name) for name in sanity["lead"] if name not in ("transfer", *free)},
        "largest_epsilon": _wire(largest["value"], largest["value"] > 0),
        "doubled": _wire(abs(change["value"]), abs(change["value"]) >= CONVERGED),
    }


def _wire(value: float, raised: bool) -> dict[str, Any]:
    return {"value": float(value), "raised": bool(raised)}
