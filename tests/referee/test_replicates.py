"""A referee's recomputation of further trainings of the classifier."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from tests.stored import TREE, half_over, same


def same_spread(entry: dict[str, Any], each: pd.Series, share: bool = False) -> bool:
    """The mean over trainings, Student's interval, and every training's value."""
    values = each.to_numpy(float)
    half = half_over(values)
    low, high = values.mean() - half, values.mean() + half
    ends = (max(0.0, low), min(1.0, high)) if share else (low, high)
    found = [entry["value"], entry["low"], entry["high"], *entry["each"]]
    return all(same(one, float(other)) for one, other in zip(found, [values.mean(), *ends, *values], strict=True))


def test_replicates_are_the_means_of_what_each_training_gave(study: str, metrics: dict[str, Any]) -> None:
    folder, found = TREE / f"data/replicates/{study}", metrics["replicates"]
    if not found:  # the study asks for none
        assert not (folder / "judged.parquet").exists()
        pytest.skip(f"{study}: no replicates were asked for")
    judged, examples = (pd.read_parquet(folder / f"{name}.parquet") for name in ("judged", "examples"))
    assert found["count"] == judged["replicate"].nunique() == examples["replicate"].nunique() >= 2
    clean = judged["target_label"].isna()
    assert np.array_equal(judged["recovered"], judged["predicted"] == judged["label"])
    thwarted = judged.loc[~clean, "predicted"].astype(int) != judged.loc[~clean, "target_label"].astype(int)
    assert np.array_equal(judged.loc[~clean, "thwarted"].astype(bool), thwarted)
    assert set(judged["defense"]) == set(found["defenses"])
    for defense, entry in found["defenses"].items():
        mine = judged[judged["defense"] == defense]
        for key, kind in (("test_accuracy", "clean_all"), ("clean_accuracy", "clean")):
            right = mine[mine["attack"] == kind].groupby("replicate")["recovered"].mean()
            assert same_spread(entry[key], right, share=True), (defense, key)
        for attack in found["attacks"]:
            rows = mine[mine["attack"] == attack].astype({"thwarted": float, "recovered": float})
            for outcome in ("thwarted", "recovered"):
                each = rows.groupby("replicate")[outcome].mean()
                assert same_spread(entry[attack][outcome], each, share=True), (defense, attack, outcome)
    for attack, entry in found["attacks"].items():
        rows = examples[examples["attack"] == attack].astype({"l1": float, "l2": float, "linf": float})
        assert same_spread(entry["success_rate"], rows.groupby("replicate")["is_adversarial"].mean(), share=True)
        by = rows[rows["is_adversarial"]].groupby("replicate")
        for norm in ("l1", "l2", "linf"):
            assert same_spread(entry[f"{norm}_mean"], by[norm].mean()), (attack, norm)
        assert same_spread(entry["l2_median"], by["l2"].median()), attack
    for family, entry in found["contrasts"].items():
        rows = judged[judged["attack"] == entry["attack"]].astype({"thwarted": float, "recovered": float})
        means = rows.groupby(["defense", "replicate"])[entry["outcome"]].mean()
        differences = means[family] - means[entry["over"]]
        assert same_spread(entry, differences), family
        p = max(1e-12, float(ttest_1samp(differences, 0).pvalue))
        assert entry["p"] == pytest.approx(p, rel=1e-4), family
        assert (entry["verdict"] == "not shown") is (p >= 0.05)
    undefended = judged[(judged["defense"] == "undefended") & ~clean]
    assert undefended["thwarted"].astype(bool).mean() < 0.01  # what fools is a set's, of the very classifier
