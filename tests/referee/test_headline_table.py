"""A referee's recomputation: the headline table of a study from its stored artifacts, by NumPy, SciPy and scikit-learn.

Nothing here is imported from the pipeline; what is computed is what data/README.md says. Of the studies digits and
demo, each where its `dvc repro` has finished in this tree, or in that of the environment variable REFEREE_TREE.
"""

import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, binomtest, t, ttest_1samp
from scipy.stats import norm as normal
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


def trainings_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """One set's outcomes, (trainings, images)."""
    return np.stack([rows[column].to_numpy(float) for _, rows in table.groupby("training")])


def half_over(means: np.ndarray) -> float:
    """Student's half-width of a 95 % interval of the mean over trainings; of one training none."""
    if len(means) == 1:
        return 0.0
    return float(t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))


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
    several = 0
    for family, names in metrics["families"].items():
        path = TREE / f"data/learning/{study}/{family}/trainings.csv"
        numbers = [0]
        if path.is_file():
            status = pd.read_csv(path)
            numbers = status.loc[status["status"] == "ok", "seed"].tolist()
            several += 1
        for name in names:
            assert sorted(evaluations[name]["training"].unique()) == numbers, name
    assert several


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


def scores(images: pd.DataFrame, others: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image is adversarial, and how much it looks so."""
    values = np.r_[images[name], others[name]]
    return np.r_[np.ones(len(images)), np.zeros(len(others))], values if SUSPICIOUS[name] else -values


def test_areas_are_scikit_learns(metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]) -> None:
    count = 0
    for name, by_score in metrics["detection"].items():
        groups = dict(iter(first_training(evaluations[name], "test").groupby("attack")))
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


def first_training(table: pd.DataFrame, split: str) -> pd.DataFrame:
    return table[(table["split"] == split) & (table["training"] == table["training"].min())]


def test_the_scores_are_chosen_on_validation_images_and_judged_on_the_test_split(
    metrics: dict[str, Any], evaluations: dict[str, pd.DataFrame]
) -> None:
    for name, by_attack in metrics["chosen_detection"].items():
        validation, test = (
            dict(iter(first_training(evaluations[name], split).groupby("attack"))) for split in ("validation", "test")
        )
        for attack, by_negatives in by_attack.items():
            for negatives, entry in by_negatives.items():
                others = f"noise_{attack}" if negatives == "noise" else negatives
                tried = metrics["detection"][name]
                reached = {
                    score: roc_auc_score(*scores(validation[attack], validation[others], score)) for score in tried
                }
                assert entry["held_out"]
                assert entry["chosen_originals"] == validation[attack]["original_row"].nunique()
                assert reached[entry["score"]] == pytest.approx(max(reached.values()), abs=1e-9), (name, attack)
                computed = roc_auc_score(*scores(test[attack], test[others], entry["score"]))
                assert same(entry["auc"], computed), (name, attack, negatives)


def test_no_validation_image_was_learned_from(study: str, evaluations: dict[str, pd.DataFrame]) -> None:
    """They are of the train split, a tenth of it."""
    with h5py.File(TREE / f"data/images/{study}.h5") as file:
        labels = file["train/labels"][:]
    with h5py.File(TREE / f"data/adversarial/{study}/minimal.h5") as file:
        split, index = file["source_split"][:], file["source_index"][:]
    for name, table in evaluations.items():
        held_out = table[(table["split"] == "validation") & (table["attack"] == "clean_all")]["row"].unique()
        assert abs(len(held_out) - 0.1 * len(labels)) <= 5, name
        for kind, wanted in (("validation", 0), ("test", 1)):
            originals = table[(table["split"] == kind) & (table["attack"] == "minimal")]["original_row"].unique()
            assert (split[originals] == wanted).all(), name
            if wanted == 0:
                assert set(index[originals]) <= set(held_out), name


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
