"""The Generative Adversarial Classifier's family: its trials, its trainings, what is examined and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.artifacts.learning import load_learned, write_learned
from pipeline.defenses import gac as defense
from pipeline.defenses.gac import pack_training, unpack_training
from pipeline.defenses.protocol import Learned
from pipeline.defenses.shared import gac_lambda
from pipeline.defenses.shared.gac_examination import examine
from pipeline.errors import PipelineError
from pipeline.metrics.gains import MEAN
from pipeline.metrics.splits import training_mask, validation_mask
from pipeline.training.gac import CONTROL, GAC, NOISE, Contestants, GacTraining, fit_gac, generate
from tests.contestants import VERSIONS, WIDTHS, new, toy, train
from tests.study import Study

BLOCK: dict[str, Any] = {
    "version": "vanilla",
    "share": 0.5,
    "seeds": 2,
    "generator_widths": (32,),
    "classifier_widths": (16,),
    "training": GacTraining(epochs=3, batch_size=20, learning_rate=5e-3, generator_learning_rate=5e-3),
    "lambdas": (0.0, 10.0),
    "trial_epochs": 2,
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr("pipeline.artifacts.shards.WORK", tmp_path / "work")
    return Study(tmp_path)


def failing(monkeypatch: pytest.MonkeyPatch, spoiled: Callable[[dict[str, Any], int], bool]) -> list[float]:
    """`fit_gac` diverges where `spoiled(its keywords, its number)`; returns the lambdas of its runs as they come."""
    real, runs = fit_gac, []

    def fit(contestants: Contestants, *arguments: Any, **settings: Any) -> Any:
        runs.append(settings["lambda_"])
        if spoiled(settings, arguments[3]):
            with torch.no_grad():
                contestants.generator.layers[-2].bias.fill_(torch.nan)
        return real(contestants, *arguments, **settings)

    for trained in (defense, gac_lambda):
        monkeypatch.setattr(trained, "fit_gac", fit)
    return runs


@pytest.mark.parametrize("version", VERSIONS)
def test_a_family_learns_and_is_examined(study: Study, version: str) -> None:
    widths = {"generator_widths": WIDTHS[version].generator, "classifier_widths": WIDTHS[version].classifier}
    learned = defense.learn(study.materials("gac_toy"), **{**BLOCK, **widths, "version": version})
    assert set(learned.models) == {"", CONTROL, NOISE} == {"", *(defense.defense.roles or ())}
    assert set(learned.trainings) == {0, 1}
    assert learned.models[""] is learned.trainings[0][""]
    assert not torch.equal(*(next(iter(learned.trainings[number][""].parameters())) for number in (0, 1)))
    assert {trial.lambda_ for trial in learned.trials} == {0, 10}
    for trial in learned.trials:
        assert (trial.originals, trial.unseen) == (60, 60)
        assert trial.originals < trial.images
        assert trial.gain == pytest.approx(trial.accuracy - trial.control_accuracy)
        assert trial.gain_low <= trial.gain <= trial.gain_high
    assert learned.choices["lambda_"].value in (0, 10)
    assert learned.pictures["lambdas"].generated.shape == (2, 3, 1, 8, 8)
    assert {row.split for row in learned.curves} == {"train", "test", "adversarial_train", "adversarial_test"}
    assert [entry.status for entry in learned.tables["trainings"]] == ["ok", "ok"]
    paths = study.folder / "a.safetensors", study.folder / "a"
    write_learned(paths[0], study.folder / "a.csv", paths[1], learned)
    found = [
        examine(study.materials("gac_toy"), part, share=0.5, originals=2)
        for part in (load_learned(*paths), Learned(trainings=learned.trainings))
    ]
    accuracies = found[0].tables["accuracies"]
    assert {row.part for row in accuracies} == {"seen", "unseen", "test"}
    assert {row.seed for row in accuracies} == {0, 1, MEAN}
    assert [row.accuracy for row in accuracies] == pytest.approx(
        [row.accuracy for row in found[1].tables["accuracies"]]
    )
    assert {row.model for row in found[0].tables["robustness"]} == {GAC, CONTROL, NOISE}
    assert found[0].pictures["generated"].names == ("gac_toy",)


def test_a_trial_is_no_judged_training(study: Study) -> None:
    """At the same lambda and as many epochs: a trial's luck is not counted twice."""
    block = {**BLOCK, "lambdas": (10.0,), "trial_epochs": 3, "seeds": 1}
    learned = defense.learn(study.materials("gac_toy"), **block)
    (trial,) = learned.trials
    picture = learned.pictures["lambdas"].generated[0]
    shown = torch.from_numpy(learned.pictures["lambdas"].originals)
    assert not np.allclose(generate(learned.trainings[0]["generator"], shown).numpy(), picture)
    assert trial.epochs == 3


def test_trials_and_trainings_go_on_after_a_failure(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(
        monkeypatch, lambda settings, number: settings["lambda_"] == 10 or (settings["epochs"] == 3 and number == 0)
    )
    learned = defense.learn(study.materials("gac_toy"), **BLOCK)
    failed, trial = learned.trials
    assert (failed.lambda_, failed.gain) == (10, None)
    assert "diverged" in failed.status
    assert trial.status == "ok"
    assert learned.choices["lambda_"].value in (0, None)
    assert learned.pictures["lambdas"].names == ("gac_toy 0",)
    assert list(learned.trainings) == [1]
    assert learned.models[""] is learned.trainings[1][""]
    assert {row.seed for row in learned.curves} == {1}
    assert [entry.status[:8] for entry in learned.tables["trainings"]] == ["diverged", "ok"]
    with pytest.raises(PipelineError, match=r"gac_toy\.learn: every training failed: diverged in epoch 1"):
        defense.learn(study.materials("gac_toy"), **{**BLOCK, "seeds": 1, "lambda_": 0.0})


def test_finished_trainings_are_kept_and_an_interrupted_one_goes_on(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(settings: dict[str, Any], number: int) -> bool:
        if len(runs) == 4:  # two trials, a training, and half of the next
            raise KeyboardInterrupt
        return False

    runs = failing(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        defense.learn(study.materials("gac_toy"), **BLOCK)
    materials = study.materials("gac_toy")
    learned = defense.learn(materials, **BLOCK)
    assert len(runs) == 5
    materials.clear()
    again = defense.learn(study.materials("gac_toy"), **BLOCK)
    assert len(runs) == 9
    assert again.trials == learned.trials
    for one, other in zip(learned.models[""].parameters(), again.models[""].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_number_for_lambda_is_used_and_the_rules_told(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = failing(monkeypatch, lambda settings, number: False)
    learned = defense.learn(study.materials("gac_toy"), **{**BLOCK, "lambda_": 5.0})
    assert runs == [10, 0, 5, 5]
    assert learned.choices["lambda_"].value in (0, 10, None)
    learned = defense.learn(study.materials("gac_toy"), **{**BLOCK, "lambda_": 5.0, "lambdas": ()})
    assert (learned.choices, learned.trials, learned.pictures) == ({}, [], {})
    with pytest.raises(PipelineError, match=r"gac_toy\.learn\.lambda_: auto, but there are no lambdas to try"):
        defense.learn(study.materials("gac_toy"), **{**BLOCK, "lambdas": ()})


def test_a_finished_training_is_packed_and_comes_back() -> None:
    sample = toy()
    contestants, curves = train("dcgan", sample)
    other = new("dcgan", sample, seed=5)
    assert unpack_training(pack_training(contestants, curves, "ok"), other) == (curves, "ok")
    for one, two in zip(
        contestants.generator.state_dict().values(), other.generator.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two)


def test_the_training_share_is_balanced_and_holds_no_validation_image() -> None:
    labels = np.repeat(np.arange(4), 100).astype(np.uint8)
    half, most = (training_mask(labels, 0, "toy", share) for share in (0.5, 0.9))
    held_out = validation_mask(labels, 0, "toy")
    assert not (half & held_out).any()
    assert (most == ~held_out).all()
    assert np.bincount(labels[half]).tolist() == [50] * 4
    assert (most | ~half).all()
