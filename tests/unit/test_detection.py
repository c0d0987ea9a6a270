"""Detectors against cases known by hand and against scikit-learn's own area."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.metrics.detection import GRID, Detector, detect, detection, measure
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
    table, curves = detect(evaluation)
    assert set(table["score"]) == {
        "vote_variance", "score_variance", "predictive_entropy", "mutual_information", "max_probability",
    }  # fmt: skip
    assert set(table["negatives"]) == {"clean", "clean_all", "noise"}
    by = table.set_index(["score", "negatives"])["auc"]
    assert by["vote_variance", "clean"] == 1
    assert by["max_probability", "clean"] == 1  # low probability is suspicious: the sign is turned
    assert 0.8 < by["vote_variance", "noise"] < 1
    assert len(curves) == len(table) * len(GRID)
    single, _ = detect(evaluation.assign(passes=1))
    assert set(single["score"]) == {"max_probability", "logit_margin", "predictive_entropy"}


def test_one_row_for_each_original() -> None:
    originals = np.repeat([4, 7, 9], [3, 1, 5])
    chosen = one_row_per_original(originals, np.random.default_rng(0))
    assert originals[chosen].tolist() == [4, 7, 9]
