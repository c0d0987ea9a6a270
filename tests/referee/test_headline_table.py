"""A referee's recomputation: the headline table of a study from its stored artifacts, by NumPy, SciPy and scikit-learn.

Nothing here is imported from the pipeline; what is computed is what data/README.md says. Of the studies digits,
mnist and demo, each where its `dvc repro` has finished in this tree, or in that of the environment variable
REFEREE_TREE.
"""

from itertools import combinations
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, binomtest, t
from scipy.stats import norm as normal

from tests.stored import TREE, half_over, same


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


def trainings_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """One set's outcomes, (trainings, images)."""
    return np.stack([rows[column].to_numpy(float) for _, rows in table.groupby("training")])


def covers(entry: dict[str, float], found: np.ndarray, originals: float) -> bool:
    """An interval not narrower than Student's over trainings, nor wider than that and an exact one over originals."""
    half, mean = half_over(found.mean(1)), float(found.mean())
    right = mean * originals  # Clopper-Pearson's, of what need be no whole numbers
    low = beta.ppf(0.025, right, originals - right + 1) if right else 0.0
    high = beta.ppf(0.975, right + 1, originals - right) if right < originals else 1.0
    widest = 2 * half + high - low
    reaches = entry["low"] <= max(0.0, mean - half) + 1e-6 and entry["high"] >= min(1.0, mean + half) - 1e-6
    return bool(reaches and 0 < entry["high"] - entry["low"] <= widest + 1e-6)


def test_thwarted_and_recovered_are_those_of_the_votes(
    metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]
) -> None:
    """Means over all trainings; of one, exact intervals; of several, none narrower than Student's over them."""
    for name, whole in evaluations.items():
        votes = np.stack(whole["votes"].to_list())
        predicted = whole["predicted"].to_numpy()
        assert (votes[np.arange(len(whole)), predicted] == votes.max(1)).all(), name
        table = whole.assign(right=predicted == whole["label"].to_numpy())
        table = table[table["split"] == "test"]
        entry = metrics["defenses"][name]
        assert entry["trainings"] == table["training"].nunique()
        for key, kind in (("test_accuracy", "clean_all"), ("clean_accuracy", "clean")):
            right = trainings_of(table[table["attack"] == kind], "right")
            assert same(entry[key]["value"], right.mean()), (name, key)
            if len(right) == 1:
                exact = binomtest(int(right.sum()), right.size).proportion_ci(0.95, "exact")
                for end, computed in (("low", exact.low), ("high", exact.high)):
                    assert same(entry[key][end], float(computed)), (name, key, end)
            assert covers(entry[key], right, right.shape[1]), (name, key)
        for attack in metrics["attacks"]:
            images = table[table["attack"] == attack]
            if len(images):
                images = images.assign(thwarted=images["predicted"] != images["target_label"].astype(int))
                for outcome, column in (("thwarted", "thwarted"), ("recovered", "right")):
                    found = trainings_of(images, column)
                    assert same(entry[attack][outcome]["value"], found.mean()), (name, attack)
                    counts = images[images["training"] == 0]["original_row"].value_counts()
                    worth = counts.sum() ** 2 / (counts**2).sum()  # unequal ones are worth fewer originals
                    assert covers(entry[attack][outcome], found, worth), (name, attack, outcome)


def test_the_trainings_are_those_that_did_not_fail(
    study: str, metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]
) -> None:
    several = []
    for family, names in metrics["families"].items():
        path = TREE / f"data/learning/{study}/{family}/trainings.csv"
        numbers = [0]
        if path.is_file():
            status = pd.read_csv(path)
            numbers = status.loc[status["status"] == "ok", "seed"].tolist()
            several.append(family)
        for name in names:
            assert sorted(evaluations[name]["training"].unique()) == numbers, name
    assert sorted(several) == sorted(metrics["gac"])


def reaches_zero_at(means: np.ndarray, low: float, high: float) -> float:
    """The level at which an interval reaches zero: Student's over trainings and a normal one, added in squares."""
    mean = means.mean()
    towards = mean - low if mean > 0 else high - mean
    rest = max(0.0, towards**2 - half_over(means) ** 2) ** 0.5 / normal.ppf(0.975)
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else 0.0

    def short(log_level: float) -> float:
        tail = np.exp(log_level) / 2
        student = t.isf(tail, len(means) - 1) * error if error else 0.0
        return float(np.hypot(student, normal.isf(tail) * rest) - abs(mean))

    return float(np.exp(brentq(short, np.log(1e-12), -1e-12))) if short(np.log(1e-12)) > 0 else 1e-12


def test_gains_are_paired_means_over_trainings_and_corrected_for_how_many_they_are(
    metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]
) -> None:
    count = 0
    for family, names in metrics["families"].items():
        found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {"thwarted": {}, "recovered": {}}
        for one, other in combinations(names, 2):
            for attack, outcomes in metrics["comparisons"][f"{one}_minus_{other}"].items():
                for outcome, entry in outcomes.items():
                    pair = [table[(table["split"] == "test") & (table["attack"] == attack)] for table in
                            (evaluations[one], evaluations[other])]  # fmt: skip
                    differences = trainings_of(pair[0], outcome) - trainings_of(pair[1], outcome)
                    means = differences.mean(1)
                    assert same(entry["value"], means.mean()), (one, other, attack)
                    assert entry["trainings"] == len(means)
                    if len(means) == 1 and attack == "clean":
                        plus, minus = (differences > 0).sum(), (differences < 0).sum()
                        exact = binomtest(int(plus), int(plus + minus)).pvalue if plus + minus else 1.0
                        assert same(entry["p"], exact), (one, other)
                    elif means.mean() and entry["low"] > -1 and entry["high"] < 1:
                        computed = reaches_zero_at(means, entry["low"], entry["high"])
                        assert entry["p"] == pytest.approx(computed, rel=0.02, abs=1e-10), (one, other, attack)
                    found[outcome][f"{one}_minus_{other}", attack] = entry
        for outcome, entries in found.items():
            rest = sorted((entry for entry in entries.values() if not entry["primary"]), key=lambda entry: entry["p"])
            assert len(entries) - len(rest) == bool(metrics["primary"][family] and outcome == "recovered")
            least = 0.0
            for rank, entry in enumerate(rest):
                least = max(least, min(1.0, entry["p"] * (len(rest) - rank)))
                assert entry["p_holm"] == pytest.approx(least, rel=1e-4), (family, outcome)
            for (pair_, _), entry in entries.items():
                count += 1
                if entry["verdict"] in ("gain", "loss"):
                    assert entry["p_holm"] < 0.05
                    assert (entry["value"] > 0) is (entry["verdict"] == "gain")
                    assert entry["trainings"] >= 3 or "gac" not in pair_
                elif entry["verdict"] == "not shown":
                    assert entry["p_holm"] >= 0.05
    assert count > 20


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
