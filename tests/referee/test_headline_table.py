"""A referee's recomputation: the headline table of a study from its stored artifacts, by NumPy, SciPy and scikit-learn.

Nothing here is imported from the pipeline; what is computed is what data/README.md says. Of the studies digits and
demo, each where its `dvc repro` has finished in this tree, or in that of the environment variable REFEREE_TREE.
"""

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

TREE = Path(os.environ.get("REFEREE_TREE", Path(__file__).parents[2]))
SUSPICIOUS = {  # whether adversarial images are expected to have a high score
    "max_probability": False,
    "logit_margin": False,
    "predictive_entropy": True,
    "vote_variance": True,
    "score_variance": True,
    "mutual_information": True,
}


@pytest.fixture(scope="module", params=["digits", "demo"])
def study(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    for path in (TREE / f"reports/metrics/{name}.json", TREE / f"data/detection/{name}/chosen.parquet"):
        if not path.is_file():
            pytest.skip(f"{path}: no such file: the study has not been reproduced here")
    return name


@pytest.fixture(scope="module")
def metrics(study: str) -> dict[str, Any]:
    return json.loads((TREE / f"reports/metrics/{study}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def evaluations(study: str, metrics: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """By defense, what it did with each image of every set."""
    found = {}
    for family, names in metrics["families"].items():
        for name in names:
            own = f"{family}.parquet" if name == family else f"{family}/{name}.parquet"
            paths = [
                TREE / f"data/evaluations/{study}/{own}",
                TREE / f"data/other_evaluations/{study}/{family}/{name}.parquet",
            ]
            found[name] = pd.concat([pd.read_parquet(path) for path in paths if path.is_file()], ignore_index=True)
    return found


def same(found: float, computed: float) -> bool:
    """Equal to 1e-6, and half a unit of the sixth digit, to which the metrics are written."""
    unit = 10 ** (np.floor(np.log10(abs(computed))) - 5) if computed else 0.0
    return bool(abs(found - computed) <= 1e-6 + unit / 2)


def test_success_rates_and_norms_are_those_of_the_stored_images(study: str, metrics: dict[str, Any]) -> None:
    for attack, entry in metrics["attacks"].items():
        with h5py.File(TREE / f"data/adversarial/{study}/{attack}.h5") as file:
            fooled = file["is_adversarial"][:]
            assert np.array_equal(fooled, file["margin"][:] > 0)
            originals = file["originals"][:].astype(np.float64) / 255
            perturbations = file["images"][:].astype(np.float64) - originals[file["original_row"][:]]
        flat = perturbations[fooled].reshape(fooled.sum(), -1)
        assert entry["examples"] == len(fooled)
        assert same(entry["success_rate"]["value"], fooled.mean()), attack
        for norm, order in (("l1", 1), ("l2", 2), ("linf", np.inf)):
            sizes = np.linalg.norm(flat, order, axis=1)
            assert same(entry[norm]["mean"], sizes.mean()), (attack, norm)
            assert same(entry[norm]["std"], sizes.std()), (attack, norm)
        assert same(entry["pixel"]["std"], flat.std()), attack


def test_thwarted_and_recovered_are_those_of_the_votes(
    metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]
) -> None:
    for name, table in evaluations.items():
        votes = np.stack(table["votes"].to_list())
        predicted = table["predicted"].to_numpy()
        assert (votes[np.arange(len(table)), predicted] == votes.max(1)).all(), name
        table = table.assign(right=predicted == table["label"].to_numpy())
        entry = metrics["defenses"][name]
        for key, kind in (("test_accuracy", "clean_all"), ("clean_accuracy", "clean")):
            right = table.loc[table["attack"] == kind, "right"]
            exact = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, "exact")
            for end, computed in (("value", right.mean()), ("low", exact.low), ("high", exact.high)):
                assert same(entry[key][end], float(computed)), (name, key, end)
        for attack in metrics["attacks"]:
            images = table[table["attack"] == attack]
            if len(images):
                thwarted = images["predicted"].to_numpy() != images["target_label"].to_numpy(int)
                assert same(entry[attack]["thwarted"]["value"], thwarted.mean()), (name, attack)
                assert same(entry[attack]["recovered"]["value"], images["right"].mean()), (name, attack)


def scores(images: pd.DataFrame, others: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image is adversarial, and how much it looks so."""
    values = np.r_[images[name], others[name]]
    return np.r_[np.ones(len(images)), np.zeros(len(others))], values if SUSPICIOUS[name] else -values


def test_areas_are_scikit_learns(metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]) -> None:
    count = 0
    for name, by_score in metrics["detection"].items():
        groups = dict(iter(evaluations[name].groupby("attack")))
        for score, by_attack in by_score.items():
            for attack, by_negatives in by_attack.items():
                for negatives, entry in by_negatives.items():
                    others = groups[f"noise_{attack}" if negatives == "noise" else negatives]
                    truth, values = scores(groups[attack], others, score)
                    assert same(entry["auc"], roc_auc_score(truth, values)), (name, score, attack, negatives)
                    fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
                    assert same(entry["tpr_at_fpr_0.05"], tpr[fpr <= 0.05].max()), (name, score, attack, negatives)
                    assert entry["auc_low"] <= entry["auc"] <= entry["auc_high"]
                    count += 1
    assert count >= 18 * len(evaluations)


def test_the_chosen_scores_are_judged_on_the_other_half(
    metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]
) -> None:
    """Negatives: the attacked originals, halved by a seeded permutation; the first half's best, on the second."""
    for name, by_attack in metrics["chosen_detection"].items():
        groups = dict(iter(evaluations[name].groupby("attack")))
        for attack, by_negatives in by_attack.items():
            entry = by_negatives["clean"]
            originals = np.unique(groups[attack]["original_row"])
            first = np.random.default_rng(0).permutation(originals)[: (len(originals) + 1) // 2]
            halves = [
                [part[part["original_row"].isin(first) == wanted] for part in (groups[attack], groups["clean"])]
                for wanted in (True, False)
            ]
            tried = metrics["detection"][name]
            reached = {score: roc_auc_score(*scores(*halves[0], score)) for score in tried}
            assert reached[entry["score"]] == pytest.approx(max(reached.values()), abs=1e-9), (name, attack)
            assert same(entry["auc"], roc_auc_score(*scores(*halves[1], entry["score"]))), (name, attack)


def test_restoration_errors_are_of_the_family_that_a_defense_is_of(study: str, metrics: dict[str, Any]) -> None:
    """Two families of autoencoders each measure theirs without dropout: the second's is not the first's variant."""
    errors = metrics["restorations"]["reconstruction_error"]
    found = set()
    for family, names in metrics["families"].items():
        path = TREE / f"data/learning/{study}/{family}/errors.csv"
        if not path.is_file():
            continue
        table = pd.read_csv(path)
        for name in set(names) & set(table["method"]):
            mine = table[table["method"] == name]
            if name == "gaussian_blur":
                mine = mine[np.isclose(mine["sigma"], metrics["restorations"]["blur_sigma"]["used"])]
            measured = dict(zip(mine["kind"], mine["reconstruction_error"], strict=True))
            assert errors[name] == pytest.approx(measured, rel=1e-5), name
            found.add(name)
    assert found == set(errors) - {"nothing"}


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
            nearest = table[(table["attack"] == "shortest") & table["broken"]].set_index("original")["l2"]
            needed = nearest.reindex(wrong.index).fillna(np.inf).mask(wrong, 0.0)
            for key, values in (("l2_median", needed), ("l2_median_right", needed[~wrong])):
                median = float(np.median(values))
                found = entry[key]["value"]
                assert (found is None) if np.isinf(median) else same(found, median), (name, key)
