"""Two studies on the same images, original by original: what fools either network, and what each defense does with it.

Of the test split, and of the originals that both studies attacked: each network gets those right. Intervals are over
originals, and do not cover the training of either network.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.metrics.comparisons import holm
from pipeline.metrics.intervals import ratio_with_interval
from pipeline.metrics.trainings import mean_difference, verdict_of

IMAGE = ["source_index", "target_label"]  # what an image of a set was made from, and towards what
TEST = 1  # of `source_split`
OUTCOMES = {"clean": ("recovered",), "minimal": ("thwarted", "recovered"), "extended": ("thwarted", "recovered")}
# Of a perturbation, and whether two are compared by their ratio, or by their difference: a correlation may be 0.
RATIOS, DIFFERENCES = ("l2", "linf", "sensitivity"), ("edge_correlation",)


def in_both(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The test split's originals and targets that both sets have, in order; columns end in `_one` and `_other`.

    one, other : `examples.parquet` of two sets of one attack.
    """
    one, other = (frame[frame["source_split"] == TEST] for frame in (one, other))
    both = one.merge(other, on=IMAGE, suffixes=("_one", "_other"))
    return both.sort_values(IMAGE, ignore_index=True)


def compare_perturbations(both: pd.DataFrame, cosines: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Their sizes and structure, where both attacks fool their network: means, and the other's over the one's.

    both : of `in_both`. cosines : (n,), of the angle between the two perturbations of a row.

    Returns `originals`, `images`; by quantity `one`, `other` and `ratio` or `difference`, a rate; `cosine`, a rate.
    """
    fooled = (both["is_adversarial_one"] & both["is_adversarial_other"]).to_numpy()
    rows, originals = both[fooled], both["source_index"].to_numpy()[fooled]
    found: dict[str, Any] = {"originals": len(np.unique(originals)), "images": len(rows)}
    for name in (*RATIOS, *DIFFERENCES):
        values = rows[[f"{name}_one", f"{name}_other"]].to_numpy(np.float64)
        known = np.isfinite(values).all(1)  # a perturbation of one size everywhere correlates with nothing
        mine, its = values[known].T
        if len(np.unique(originals[known])) < 2:
            continue
        if name in RATIOS:
            kind, compared = "ratio", ratio_with_interval(its, mine, originals[known])
        else:
            kind, compared = "difference", ratio_with_interval(its - mine, np.ones(len(mine)), originals[known])
        found[name] = {"one": float(mine.mean()), "other": float(its.mean()), kind: compared.as_dict()}
    found["cosine"] = ratio_with_interval(cosines[fooled], np.ones(len(rows)), originals).as_dict()
    return found


def outcomes_by_image(evaluation: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """A defense's outcomes by `attack`, `source_index` and `target_label` (-1: clean); of several trainings the mean.

    evaluation : of the test split. examples : of its study's minimal set, whose originals all its sets have.
    """
    index = examples.drop_duplicates("original_row").set_index("original_row")["source_index"]
    wanted = evaluation[evaluation["attack"].isin(OUTCOMES)]
    found = pd.DataFrame(
        {
            "attack": wanted["attack"],
            "source_index": index.loc[wanted["original_row"]].to_numpy(),
            "target_label": wanted["target_label"].fillna(-1).astype(int),
            **{outcome: wanted[outcome].to_numpy(float, na_value=np.nan) for outcome in OUTCOMES["minimal"]},
        }
    )
    return found.groupby(["attack", *IMAGE], as_index=False).mean()


def compare_defenses(one: Mapping[str, pd.DataFrame], other: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """By defense, attack and outcome the two rates on the same originals and targets, and the other's minus the one's.

    one, other : of the same defenses, `outcomes_by_image`. Each has `one`, `other`, `value, low, high`, `originals`,
    `images`, `p`; `p_holm`, adjusted with all others of its outcome (Holm, 1979); `verdict` on these two networks,
    "gain" or "loss" of the other, or "not shown".
    """
    found: dict[str, Any] = {}
    places: dict[str, dict[str, dict[str, Any]]] = {}
    for name in one:
        both = one[name].merge(other[name], on=["attack", *IMAGE], suffixes=("_one", "_other"))
        for attack, outcomes in OUTCOMES.items():
            rows = both[both["attack"] == attack]
            for outcome in outcomes if len(rows) else ():
                mine, its = rows[f"{outcome}_one"].to_numpy(), rows[f"{outcome}_other"].to_numpy()
                compared = mean_difference((its - mine)[None], rows["source_index"].to_numpy())
                compared |= {"one": float(mine.mean()), "other": float(its.mean()), "images": len(rows)}
                del compared["trainings"]
                found.setdefault(name, {}).setdefault(attack, {})[outcome] = compared
                places.setdefault(outcome, {})[f"{name}, {attack}"] = compared
    for of_one_outcome in places.values():
        with_verdicts(of_one_outcome)
    return found


def misled_more(one: "pd.Series[bool]", other: "pd.Series[bool]", originals: "pd.Series[int]") -> dict[str, Any]:
    """How much oftener the other's images mislead the one's network than the one's the other's: a difference, and `p`.

    one, other : by row of `in_both`, of images that fool their own network, whether the other network errs on them;
    compared on the rows that both have. originals : of each row.
    """
    rows = one.index.intersection(other.index)
    differences = other[rows].to_numpy(np.float64) - one[rows].to_numpy(np.float64)
    found = mean_difference(differences[None], originals[rows].to_numpy())
    del found["trainings"]
    return found


def with_verdicts(compared: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same, each with `p_holm`, adjusted together (Holm, 1979), and its `verdict`, of the other over the one."""
    for entry, p in zip(compared.values(), holm(entry["p"] for entry in compared.values()), strict=True):
        entry |= {"p_holm": p, "verdict": verdict_of(entry["value"], p)}
    return compared
