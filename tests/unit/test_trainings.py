"""Several trainings of one defense: their rows, and their mean with its interval."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from pipeline.artifacts.evaluations import read_evaluation, write_evaluation
from pipeline.artifacts.judging import Judged, judge_parts, parts_to_judge
from pipeline.artifacts.statistics import write_frame
from pipeline.defenses import autoencoder_ensemble
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.defenses.protocol import load_defense
from pipeline.defenses.shared import autoencoder_trials
from pipeline.defenses.undefended import undefended
from pipeline.errors import PipelineError
from pipeline.metrics.intervals import Rate, difference_with_interval, mean_with_interval
from pipeline.metrics.splits import validation_mask
from pipeline.metrics.trainings import by_training, mean_difference, mean_rate, over_trainings, p_value
from pipeline.training.autoencoder import AutoencoderTraining, fit_autoencoder
from tests.root import ROOT
from tests.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


# --- choosing apart from judging ---------------------------------------------------------------------------------
def test_defenses_that_are_trained_and_choose_by_trials_are_these_two() -> None:
    """Of each a test asks that no trial is a judged training: the GAC's in test_gac.py, the other's below."""
    names = [
        path.stem for path in (ROOT / "pipeline/defenses").glob("*.py") if path.stem not in ("__init__", "protocol")
    ]
    assert {name for name in names if load_defense(name).tried} == {"gac", "autoencoder_ensemble"}


def test_a_trial_of_the_autoencoder_is_no_judged_training(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many epochs on as many originals, at the same rate: it starts and draws otherwise."""
    starts = []

    def fit(
        model: Any, classifier: Any, pairs: Any, held_out: Any, draws: torch.Generator, *rest: Any, **how: Any
    ) -> Any:
        starts.append((draws.initial_seed(), next(model.parameters()).detach().clone()))
        return fit_autoencoder(model, classifier, pairs, held_out, draws, *rest, **how)

    for trained in (autoencoder_ensemble, autoencoder_trials):
        monkeypatch.setattr(trained, "fit_autoencoder", fit)
    materials = study.materials("mine")
    training = AutoencoderTraining(
        epochs=1, patience=1, batch_size=64, learning_rate=1e-3, clean_share=0.0, classifier_weight=0.0, flip=False
    )
    trials = autoencoder_trials.Trials(originals=1000, epochs=1, passes=(1,), dropout=(0.1,))
    autoencoder_ensemble.learn(
        materials,
        architecture=autoencoder_trials.Architecture(channels=(4,), residual=False, dropout=0.1),
        training=training,
        trials=trials,
    )
    materials.clear()
    (trial, judged_) = starts
    assert trial[0] != judged_[0]
    assert not torch.equal(trial[1], judged_[1])


# --- the rows ----------------------------------------------------------------------------------------------------
def judged(study: Study, models: dict[int, Any], predict: Any = undefended, images: bool = True) -> pd.DataFrame:
    parts = parts_to_judge(study.images if images else None, study.sets, 16, 0, "toy")
    frame = judge_parts(Judged("mine", predict, models, "transfer"), parts, 16, 0, "toy")
    assert frame is not None
    return frame


def test_every_training_judges_every_image_of_both_splits(study: Study) -> None:
    one = study.materials("mine").classifier
    other = study.materials("mine").classifier
    with torch.no_grad():  # another training: it takes the first class for the second
        next(layer for layer in reversed(list(other.children())) if hasattr(layer, "bias")).bias += torch.tensor(
            [0.0, 3.0, 0.0]
        )
    frame = judged(study, {2: one, 5: other})
    assert frame["training"].unique().tolist() == [2, 5]
    alone = judged(study, {0: one})
    columns = [name for name in frame if name != "training"]
    of_first = frame[frame["training"] == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_first[columns], alone[columns])
    assert not of_first["recovered"].equals(frame[frame["training"] == 5]["recovered"].reset_index(drop=True))
    found = by_training(frame[(frame["attack"] == "minimal") & (frame["split"] == "test")], ["recovered"])
    assert found["recovered"].shape == (2, 48)  # 30 originals, two targets, a fifth fooled nobody


def test_validation_images_are_of_the_train_split_and_no_training_has_seen_them(study: Study) -> None:
    frame = judged(study, {0: study.materials("mine").classifier})
    held_out = set(np.flatnonzero(validation_mask(study.splits["train"].labels, 0, "toy")))
    by = {
        key: set(rows["original_row"])
        for key, rows in frame[~frame["attack"].str.startswith("noise")].groupby(["split", "attack"])
    }
    assert by["validation", "clean_all"] == held_out
    for attack in ("clean", "minimal", "extended"):
        assert by["validation", attack] <= held_out
        assert by["test", attack] <= set(range(120, 150))
    assert set(frame.loc[frame["split"] == "validation", "attack"]) == set(frame["attack"])
    others = judged(study, {0: study.materials("mine").classifier}, images=False)
    assert set(others["split"]) == {"test"}


def test_two_trainings_draw_other_random_numbers_and_one_alone_those_of_its_name(study: Study) -> None:
    model = study.materials("mine").classifier
    predict = partial(dropout_ensemble, passes=20, rate=0.6)
    frame = judged(study, {0: model, 1: model}, predict)
    parts = [frame.loc[frame["training"] == number, "score_variance"].to_numpy() for number in (0, 1)]
    assert (parts[0] != parts[1]).mean() > 0.9


def test_an_evaluation_is_read_by_split_and_an_old_one_refused(study: Study, tmp_path: Path) -> None:
    frame = judged(study, {0: study.materials("mine").classifier})
    write_evaluation(tmp_path / "new.parquet", frame, {})
    assert len(read_evaluation(tmp_path / "new.parquet")[0]) == (frame["split"] == "test").sum()
    assert set(read_evaluation(tmp_path / "new.parquet", "validation")[0]["split"]) == {"validation"}
    write_frame(tmp_path / "old.parquet", frame.drop(columns=["split", "training"]), "evaluation", {})
    with pytest.raises(PipelineError, match=r"old\.parquet: expected columns split, training, found none"):
        read_evaluation(tmp_path / "old.parquet")


# --- their mean --------------------------------------------------------------------------------------------------
def test_interval_over_trainings_is_students() -> None:
    values = np.array([0.01, 0.03, 0.02])
    rate = over_trainings(values)
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert (rate.low, rate.high) == pytest.approx(expected)
    half = expected[1] - values.mean()
    both = over_trainings(values, Rate(0.02, 0.01, 0.05))
    assert (both.low, both.high) == pytest.approx((0.02 - np.hypot(half, 0.01), 0.02 + np.hypot(half, 0.03)))
    narrower = over_trainings(values, level=0.3)
    assert (narrower.low, narrower.high) == pytest.approx(stats.t.interval(0.7, 2, values.mean(), stats.sem(values)))


def test_a_rate_is_the_mean_over_trainings_and_its_interval_wider_than_that_of_one() -> None:
    random = np.random.default_rng(0)
    values = (random.random((5, 400)) < np.array([[0.6], [0.7], [0.5], [0.65], [0.55]])).astype(float)
    found = mean_rate(values)
    assert found.value == pytest.approx(values.mean())
    first = mean_with_interval(values[0])
    assert found.high - found.low > first.high - first.low
    assert mean_rate(values[:1]) == first
    sure = mean_rate(np.array([[1.0] * 99 + [0.0]] * 3))
    assert sure.high <= 1


def test_p_is_below_a_level_where_its_interval_leaves_zero_out() -> None:
    values = np.array([0.03, 0.05, 0.04])
    originals = Rate(0.04, 0.01, 0.06)
    p = p_value(values, originals)
    for level, leaves_out in ((p * 1.01, True), (p * 0.99, False)):
        assert (over_trainings(values, originals, level).low > 0) is leaves_out
    # One training: that of a normal distribution, as wide as the side towards zero.
    one = p_value(np.array([0.04]), originals)
    assert one == pytest.approx(2 * stats.norm.sf(0.04 / (0.03 / stats.norm.ppf(0.975))), rel=1e-6)
    assert p_value(np.array([-0.04]), Rate(-0.04, -0.06, -0.01)) == pytest.approx(one)
    assert p_value(np.zeros(1), originals) == 1
    # No spread over trainings: the originals' alone.
    assert p_value(np.array([0.04, 0.04]), originals) == pytest.approx(one)


def test_a_difference_keeps_the_exact_p_of_one_training() -> None:
    differences = np.array([1.0] * 9 + [-1.0] + [0.0] * 90)
    exact = difference_with_interval(differences)
    found = mean_difference(differences[None], np.arange(100))
    assert found == {"value": exact.value, "low": exact.low, "high": exact.high, "p": exact.p, "originals": 100,
                     "trainings": 1}  # fmt: skip
    several = mean_difference(np.stack([differences, differences]), np.arange(100))
    assert several["trainings"] == 2
    assert several["value"] == exact.value
