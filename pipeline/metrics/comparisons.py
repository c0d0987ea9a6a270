"""Differences between defenses on the same images, and which of them are verdicts.

One is named per family, see `contrasts`; the rest are corrected for how many they are (Holm).
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import PipelineError
from pipeline.metrics.trainings import FEWEST, by_training, mean_difference, verdict_of

Differences = dict[str, dict[str, dict[str, dict[str, Any]]]]  # pair, attack, outcome: a difference


def compare_evaluations(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    """Rates of `one` minus those of `other`, image by image, on the attacked originals and the sets of both.

    The same images are judged twice, so the interval of the difference is narrower than two intervals suggest. Training
    is taken from training; if only one of the two has several, each of them from the other's.
    """
    compared: dict[str, Any] = {}
    others = {str(name): group for name, group in other.groupby("attack", sort=False)}
    for key, group in one.groupby("attack", sort=False):
        name = str(key)
        if name == "clean_all" or name.startswith("noise_") or name not in others:
            continue
        outcomes = ["recovered"] if name == "clean" else ["thwarted", "recovered"]
        mine, its = by_training(group, outcomes), by_training(others[name], outcomes)
        if not np.array_equal(mine["row"], its["row"]):
            raise PipelineError(f"evaluations to compare: expected the same images of '{name}', found others")
        counts = [len(found[outcomes[0]]) for found in (mine, its)]
        if 1 not in counts and counts[0] != counts[1]:
            raise PipelineError(f"evaluations to compare: expected as many trainings of both, found {counts}")
        compared[name] = {
            outcome: mean_difference(mine[outcome] - its[outcome], mine["original_row"]) for outcome in outcomes
        }
    return compared


def compare_family(
    roles: Mapping[str, str | None], evaluations: Mapping[str, pd.DataFrame], primary: Mapping[str, str] | None
) -> Differences:
    """<one>_minus_<other> of every two defenses of a family, with verdicts.

    roles : of its defenses in order, itself first, which of the family's models each predicts with, None: the attacked
    classifier; two of different roles were trained each by itself. evaluations : at least theirs. primary : the
    declared contrast, `over` a variant's key; None: there is none.
    """
    pairs = {f"{one}_minus_{other}": (one, other) for one, other in combinations(roles, 2)}
    found = {pair: compare_evaluations(evaluations[one], evaluations[other]) for pair, (one, other) in pairs.items()}
    trained = {
        pair: None not in (roles[one], roles[other]) and roles[one] != roles[other]
        for pair, (one, other) in pairs.items()
    }
    head = next(iter(roles))
    place = (f"{head}_minus_{primary['over']}", primary["attack"], primary["outcome"]) if primary else None
    judge_differences(found, place, trained)
    return found


def holm(ps: Iterable[float]) -> list[float]:
    """The p-values of several tests adjusted (Holm, 1979): below a level, they hold together at that level."""
    values = np.array(list(ps), float)
    order = np.argsort(values, kind="stable")
    adjusted = np.minimum(1.0, np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values)))))
    found = np.empty(len(values))
    found[order] = adjusted
    return [float(value) for value in found]


def judge_differences(found: Differences, primary: tuple[str, str, str] | None, trained: Mapping[str, bool]) -> None:
    """Add `primary`, `p_holm` and `verdict` to each difference of one family, in place.

    primary : pair, attack and outcome of the declared contrast; it is not corrected, its `p_holm` is its p. All others
    of the same outcome are, together. trained : by pair, whether both were trained, each by itself.

    verdict : "gain" or "loss" if `p_holm` is below 0.05; "not shown" if it is not; "too few trainings" of rivals that
    were trained fewer than FEWEST = 3 times.
    """
    for outcome in ("thwarted", "recovered"):
        places = [
            (pair, attack) for pair, by_attack in found.items() for attack, by in by_attack.items() if outcome in by
        ]
        rest = [place for place in places if (*place, outcome) != primary]
        adjusted = dict(zip(rest, holm(found[pair][attack][outcome]["p"] for pair, attack in rest), strict=True))
        for pair, attack in places:
            difference = found[pair][attack][outcome]
            p = adjusted[pair, attack] if (pair, attack) in adjusted else float(difference["p"])
            few = trained[pair] and difference["trainings"] < FEWEST
            verdict = verdict_of(difference["value"], p)
            difference["primary"] = (pair, attack, outcome) == primary
            difference["p_holm"] = p
            difference["verdict"] = "too few trainings" if few else verdict
