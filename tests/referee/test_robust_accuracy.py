"""A referee's recomputation of robust accuracy."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from tests.stored import TREE, same


def test_robust_accuracy_is_what_the_worst_of_all_attacks_leaves(study: str, metrics: dict[str, Any]) -> None:
    for family, names in metrics["families"].items():
        for name in names:
            folder = TREE / f"data/adaptive/{study}/{family}" / ("" if name == family else name)
            table, entry = pd.read_parquet(folder / "examples.parquet"), metrics["adaptive"][name]
            norm, budget = entry["settings"]["norm"], entry["settings"]["budget"]
            assert (table[norm] <= table["epsilon"].fillna(np.inf) * (1 + 1e-4)).all(), name
            assert np.array_equal(table["broken"], table["predicted"] != table["label"]), name
            last = table[table["attack"] == "worst"].set_index("original").sort_index()
            wrong = table[table["attack"] == "none"].set_index("original").sort_index()["broken"]
            assert entry["originals"] == len(last) == len(wrong)
            assert not (wrong & ~last["broken"]).any()
            left = {"every_attack": ~last["broken"], "clean_accuracy": ~wrong}
            for key, outcome in left.items():
                count = int(outcome.sum())
                exact = binomtest(count, len(last)).proportion_ci(0.95, "exact")
                for end, computed in (("value", count / len(last)), ("low", exact.low), ("high", exact.high)):
                    assert same(entry[key][end], float(computed)), (name, key, end)
            tried = table[~table["attack"].isin(("none", "worst", "fixed")) & table["broken"]]
            for epsilon in entry["settings"]["epsilons"]:
                near = (tried["epsilon"] <= epsilon) | (tried[norm] <= epsilon * (1 + 1e-6))
                broken = near.groupby(tried["original"]).any().reindex(last.index, fill_value=False)
                below, above = broken & last["broken"], broken | last["broken"]
                if epsilon == budget and entry["randomness"] is None:
                    assert np.array_equal(last["broken"], wrong | broken), name
                broken = last["broken"] if epsilon == budget else below if epsilon < budget else above
                assert same(entry[norm][f"{epsilon:g}"]["value"], float((~wrong & ~broken).mean())), (name, epsilon)
            if entry["randomness"] is None:
                assert last["resubmitted"].isna().all()
            else:
                times = entry["randomness"]["resubmissions"]
                fixed = table[table["attack"] == "fixed"]["broken"]
                shares = {
                    "deployed_vote": 1 - last["resubmitted"] / times,
                    "single_query": last["label_share"].astype(float),
                    "worst_of": last["resubmitted"] == 0,
                    "fixed": ~fixed,
                }
                for key, values in shares.items():
                    assert same(entry["randomness"][key]["value"], float(values.mean())), (name, key)
            nearest = (
                table[~table["attack"].isin(("none", "worst", "fixed")) & table["broken"]]
                .groupby("original")["l2"]
                .min()
            )
            needed = nearest.reindex(wrong.index).fillna(np.inf).mask(wrong, 0.0)
            for key, values in (("l2_median", needed), ("l2_median_right", needed[~wrong])):
                median = float(np.median(values))
                found = entry[key]["value"]
                assert (found is None) if np.isinf(median) else same(found, median), (name, key)
