"""A referee's recomputation of detection: areas, the scores that were chosen, and what was held out."""

from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from tests.stored import TREE, same

SUSPICIOUS = {  # whether adversarial images are expected to have a high score
    "max_probability": False,
    "logit_margin": False,
    "predictive_entropy": True,
    "vote_variance": True,
    "score_variance": True,
    "mutual_information": True,
}


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
