"""Detectors against cases known by hand and against scikit-learn's own area."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.errors import PipelineError
from pipeline.metrics.detection import area_gain, detect
from pipeline.metrics.roc import CELL, RESAMPLES, Detector, _drawn, detection, measure, resampled, thinned
from pipeline.metrics.sources import one_row_per_original


def rates(positives: np.ndarray, negatives: np.ndarray) -> dict[str, float]:
    return measure(*Detector(positives, negatives).roc())


def test_perfect_and_useless_detectors() -> None:
    perfect = rates(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert perfect == {"auc": 1.0, "tpr_at_fpr_0.01": 1.0, "tpr_at_fpr_0.05": 1.0}
    backwards = rates(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    assert backwards == {"auc": 0.0, "tpr_at_fpr_0.01": 0.0, "tpr_at_fpr_0.05": 0.0}


def test_rates_take_ties_whole() -> None:
    """Half of the positives share their score with 3 % of the negatives: out of reach at 1 %, within at 5 %."""
    found = rates(np.r_[np.full(5, 2.0), np.full(5, 1.0)], np.r_[np.ones(3), np.zeros(97)])
    assert found["tpr_at_fpr_0.01"] == 0.5
    assert found["tpr_at_fpr_0.05"] == 1.0


def test_areas_equal_scikit_learns_with_ties_and_weights() -> None:
    random = np.random.default_rng(0)
    positives, negatives = random.integers(3, 12, 300) / 10, random.integers(0, 10, 200) / 10
    weights = random.integers(0, 4, 500).astype(float)
    truth, scores = np.r_[np.ones(300), np.zeros(200)], np.r_[positives, negatives]
    detector = Detector(positives, negatives)
    assert measure(*detector.roc())["auc"] == pytest.approx(roc_auc_score(truth, scores))
    weighted = measure(*detector.roc(weights[:300], weights[300:]))["auc"]
    assert weighted == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))


def test_intervals_are_over_originals_not_images() -> None:
    """Nine equal images of one original tell no more than one: the interval stays as wide."""
    random = np.random.default_rng(1)
    positives, negatives = random.normal(1, 1, 100), random.normal(0, 1, 100)
    ids = np.arange(100)
    once = detection(positives, negatives, ids, ids, same_originals=True)
    nine = detection(np.repeat(positives, 9), negatives, np.repeat(ids, 9), ids, same_originals=True)
    assert nine["auc"] == pytest.approx(once["auc"])
    assert nine["auc_low"] == pytest.approx(once["auc_low"])
    assert once["auc_low"] < once["auc"] < once["auc_high"]
    apart = detection(positives, negatives, ids, ids, same_originals=False)
    assert apart["auc_low"] < apart["auc"] < apart["auc_high"]


def frame(attack: str, count: int, score: float, passes: int) -> pd.DataFrame:
    columns = ["vote_variance", "score_variance", "predictive_entropy", "mutual_information", "logit_margin"]
    values = np.linspace(score, score + 1, count)
    return pd.DataFrame(
        {
            "attack": attack,
            "passes": passes,
            "original_row": np.arange(count),
            **dict.fromkeys(columns, values),
            "max_probability": -values,
        }
    )


def test_every_score_set_and_kind_of_negatives() -> None:
    parts = [("clean", 0.0), ("clean_all", 0.5), ("minimal", 5.0), ("noise_minimal", 4.5)]
    evaluation = pd.concat([frame(name, 50, score, 20) for name, score in parts])
    found = detect(evaluation, evaluation.iloc[::2])
    table = found.scores
    several = {"vote_variance", "score_variance", "mutual_information"}
    any_ = {"predictive_entropy", "max_probability", "logit_margin"}
    assert set(table["score"]) == several | any_
    assert set(table["negatives"]) == {"clean", "clean_all", "noise"}
    by = table.set_index(["score", "negatives"])["auc"]
    assert by["vote_variance", "clean"] == 1
    assert by["max_probability", "clean"] == 1  # low probability is suspicious: the sign is turned
    assert by["logit_margin", "clean"] == 0
    assert 0.8 < by["vote_variance", "noise"] < 1
    assert set(detect(evaluation.assign(passes=1), evaluation).scores["score"]) == any_
    assert len(found.chosen) == 3
    assert set(found.chosen["originals"]) == {50}
    assert set(found.chosen["chosen_originals"]) == {25}


def made(count: int, seed: int, **scores: float) -> pd.DataFrame:
    """Three images of each of `count` originals, by how far each score of the adversarial ones stands out."""
    random = np.random.default_rng(seed)
    parts = []
    for attack, each in (("clean", 1), ("clean_all", 1), ("minimal", 3), ("noise_minimal", 1)):
        rows = np.repeat(np.arange(count), each)
        table = frame(attack, len(rows), 0, 20).assign(original_row=rows)
        for name in ("max_probability", "logit_margin", "predictive_entropy", "vote_variance", "score_variance",
                     "mutual_information"):  # fmt: skip
            table[name] = random.normal(scores.get(name, 0) * (attack == "minimal"), 1, len(rows))
        parts.append(table)
    return pd.concat(parts)


def test_a_score_is_judged_on_other_originals_than_it_was_chosen_on() -> None:
    """Scores that tell nothing: the best of six looks better than guessing where it was chosen, not on the others."""
    chosen = pd.concat([detect(made(40, seed), made(40, 100 + seed)).chosen.assign(seed=seed) for seed in range(6)])
    assert chosen["held_out"].all()
    assert chosen["chosen_auc"].mean() > 0.54
    assert 0.47 < chosen["auc"].mean() < 0.53
    sure = detect(made(40, 0, vote_variance=3.0), made(40, 1, vote_variance=3.0)).chosen
    assert set(sure["score"]) == {"vote_variance"}
    assert (sure["auc"] > 0.95).all()


def test_without_validation_images_a_score_is_chosen_where_it_is_judged_and_says_so() -> None:
    evaluation = made(40, 0)
    found = detect(evaluation, evaluation.iloc[:0]).chosen
    assert not found["held_out"].any()
    assert found["chosen_auc"].tolist() == found["auc"].tolist()


def test_resamples_are_what_counting_images_so_often_gives() -> None:
    random = np.random.default_rng(3)
    groups, others = np.repeat(np.arange(20), 4), np.arange(20)
    positives, negatives = random.integers(2, 12, 80) / 10.0, random.integers(0, 10, 20) / 10.0
    found = resampled(positives, negatives, groups, others, same_originals=True)
    weights = np.hstack(_drawn(20, 0))
    assert weights.shape == (20, RESAMPLES)
    assert (weights.sum(0) == 20).all()
    detector = Detector(positives, negatives)
    for i in (0, 1, 500, 999):
        expected = measure(*detector.roc(weights[groups, i], weights[others, i]))
        assert {name: values[i] for name, values in found.items()} == pytest.approx(expected)


def test_a_thousand_resamples_take_no_longer_than_a_glance() -> None:
    random = np.random.default_rng(0)
    positives, negatives, ids = random.normal(1, 1, 2700), random.normal(0, 1, 300), np.arange(300)
    resampled(positives, negatives, np.repeat(ids, 9), ids, same_originals=True)
    started = time.process_time()
    for _ in range(10):
        resampled(positives, negatives, np.repeat(ids, 9), ids, same_originals=True)
    assert time.process_time() - started < 2  # 0.2 s each at most; measured: 0.01


def test_a_score_that_is_no_number_is_refused() -> None:
    evaluation = made(10, 0)
    evaluation.loc[evaluation["attack"] == "minimal", "logit_margin"] = np.nan
    with pytest.raises(PipelineError, match=r"^logit_margin of minimal against clean: .*: 30 of 30 are no numbers$"):
        detect(evaluation, made(10, 1))


def test_two_defenses_are_compared_on_the_same_originals() -> None:
    """Equal ones differ by nothing, though the interval of each is wide."""
    one, better = (detect(*(made(40, seed, vote_variance=apart) for seed in (0, 1))) for apart in (1.0, 3.0))
    same = area_gain(one, one)
    assert (same[["gain", "gain_low", "gain_high"]] == 0).all(axis=None)
    assert (area_gain(better, one)["gain_low"] > 0).all()
    assert list(same) == ["attack", "negatives", "gain", "gain_low", "gain_high"]


@pytest.mark.parametrize("levels", [2, 30, 100_000])
def test_a_curve_is_drawn_from_its_vertices(levels: int) -> None:
    """Area and height are those of the whole curve; with two levels it is one corner, which a fixed grid bends."""
    random = np.random.default_rng(0)
    positives, negatives = random.integers(0, levels, 2000), random.integers(0, levels, 3000) ** 2 // levels
    whole = Detector(positives, negatives).roc()
    fpr, tpr = thinned(*whole)
    assert len(fpr) <= min(len(whole[0]), 4 / CELL)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(measure(*whole)["auc"], abs=CELL)
    # Along the diagonal both are functions of fpr + tpr, steps and all.
    along = np.linspace(0, 2, 5000)
    drawn = np.interp(along, fpr + tpr, tpr - fpr)
    assert np.abs(drawn - np.interp(along, whole[0] + whole[1], whole[1] - whole[0])).max() < CELL


def test_one_row_for_each_original() -> None:
    originals = np.repeat([4, 7, 9], [3, 1, 5])
    chosen = one_row_per_original(originals, np.random.default_rng(0))
    assert originals[chosen].tolist() == [4, 7, 9]
