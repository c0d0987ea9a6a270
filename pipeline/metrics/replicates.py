"""What further trainings of the classifier say of a study's figures (not in the paper, which trains once)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.metrics.intervals import Rate
from pipeline.metrics.trainings import over_trainings, p_value, verdict_of

OUTCOMES = ("thwarted", "recovered")
MEANS = ("steps", "l1", "l2", "linf")


def summarize_replicates(
    judged: pd.DataFrame,
    examples: pd.DataFrame,
    primary: Mapping[str, Mapping[str, str] | None],
    sources: Mapping[str, int],
) -> dict[str, Any]:
    """replicates: every figure as `spread` gives it, {value, low, high, each}: mean, its interval, all values.

    judged, examples : `data/replicates/<study>/judged.parquet` and `examples.parquet`. primary : by family its declared
    contrast; it is taken anew, replicate by replicate, where both of its defenses were replicated. sources : attacked
    images by split.
    """
    count = int(judged["replicate"].nunique())
    fooled = examples[examples["is_adversarial"]]
    attacks = {
        str(attack): {
            "success_rate": spread(rows.groupby("replicate")["is_adversarial"].mean(), True),
            **{f"{name}_mean": spread(part.groupby("replicate")[name].mean()) for name in MEANS},
            "l2_median": spread(part.groupby("replicate")["l2"].median()),
        }
        for attack, rows in examples.groupby("attack", sort=False)
        for part in [fooled[fooled["attack"] == attack]]
    }
    defenses = {}
    for defense, rows in judged.groupby("defense", sort=False):
        by = {str(attack): part for attack, part in rows.groupby("attack", sort=False)}
        defenses[str(defense)] = {
            "test_accuracy": _share(by["clean_all"], "recovered"),
            "clean_accuracy": _share(by["clean"], "recovered"),
            **{
                attack: {outcome: _share(by[attack], outcome) for outcome in OUTCOMES}
                for attack in attacks
                if attack in by
            },
        }
    originals = judged[judged["attack"] == "clean"].groupby(["replicate", "defense"])["row"].nunique()
    contrasts = {
        family: _contrast(judged, family, found) for family, found in primary.items() if found and family in defenses
    }
    return {
        "count": count,
        "sources": dict(sources),
        "originals": int(originals.min()),
        "attacks": attacks,
        "defenses": defenses,
        "contrasts": {family: found for family, found in contrasts.items() if found},
    }


def spread(each: Any, share: bool = False) -> dict[str, Any]:
    """Mean of a figure of each replicate, its 95 % interval (Student's, over replicates), and all of them.

    share : it lies in [0, 1], and so does the interval.
    """
    values: NDArray[np.float64] = np.asarray(each, float)
    found = over_trainings(values)
    low, high = (max(0.0, found.low), min(1.0, found.high)) if share else (found.low, found.high)
    return {"value": found.value, "low": low, "high": high, "each": [float(value) for value in values]}


def _share(rows: pd.DataFrame, outcome: str) -> dict[str, Any]:
    return spread(rows.groupby("replicate")[outcome].mean().astype(float), True)


def _contrast(judged: pd.DataFrame, family: str, primary: Mapping[str, str]) -> dict[str, Any] | None:
    """The family's figure minus the other's, with `p` and `verdict`: "gain", "loss" or "not shown"."""
    of_attack = judged[judged["attack"] == primary["attack"]]
    means = of_attack.groupby(["defense", "replicate"])[primary["outcome"]].mean().astype(float)
    if primary["over"] not in means.index.get_level_values(0):
        return None
    found = spread(means[family] - means[primary["over"]])
    value = found["value"]
    p = p_value(np.array(found["each"]), Rate(value, value, value))
    return {**primary, **found, "p": p, "verdict": verdict_of(value, p)}
