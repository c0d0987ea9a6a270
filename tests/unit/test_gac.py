"""The Generative Adversarial Classifier: losses, generators, training beside its controls, what comes out of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from pipeline.artifacts.learning import load_learned, write_learned
from pipeline.attacks.shared.comparison import needed_against
from pipeline.defenses import gac as defense
from pipeline.defenses.gac import mean_curves, pack_training, unpack_training
from pipeline.defenses.protocol import Learned
from pipeline.defenses.shared import gac_lambda
from pipeline.defenses.shared.gac_examination import examine
from pipeline.defenses.shared.gac_lambda import choose_lambda
from pipeline.errors import PipelineError
from pipeline.metrics.gac_summary import gains_on, summarize_gac
from pipeline.metrics.gains import MEAN, Accuracy, GacTrial, compare_accuracy, find_changes
from pipeline.metrics.splits import training_mask, validation_mask
from pipeline.models.cnn import Classifier
from pipeline.models.generators import DcganGenerator, VanillaGenerator
from pipeline.models.mlp import FullyConnectedClassifier
from pipeline.training.gac import (
    CONTROL,
    GAC,
    NOISE,
    Contestants,
    GacEpoch,
    GacTraining,
    Sample,
    TrainingFailed,
    Widths,
    fit_gac,
    generate,
    new_contestants,
)
from pipeline.training.gac_losses import classifier_loss, generator_loss, squared_l2
from tests.linear import Linear
from tests.study import Study

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 20,
    "learning_rate": 5e-3,
    "generator_learning_rate": 5e-3,
    "lambda_": 0.1,
}
WIDTHS = {"vanilla": Widths("vanilla", (32,), (16,)), "dcgan": Widths("dcgan", (4, 8), (6,))}
VERSIONS = list(WIDTHS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy(count: int = 120) -> Sample:
    """Three classes, a bright band each, with noise: uint8 (n, 1, 8, 8)."""
    labels = torch.arange(count) % 3
    images = torch.rand(count, 1, 8, 8, generator=seeded(3)) * 60
    for label in range(3):
        images[labels == label, :, 2 * label : 2 * label + 2] += 120
    return Sample(images.to(torch.uint8), labels, generated=True)


def new(version: str, sample: Sample, wanted: tuple[str, ...] = (GAC, CONTROL, NOISE), seed: int = 0) -> Contestants:
    return new_contestants(WIDTHS[version], sample.images, 3, (seed, version), wanted)


def train(
    version: str, sample: Sample, wanted: tuple[str, ...] = (GAC, CONTROL, NOISE), **training: Any
) -> tuple[Contestants, list[GacEpoch]]:
    contestants = new(version, sample, wanted)
    samples = {"train": sample, "adversarial_test": replace(sample, generated=False)}
    settings = {**SETTINGS, **training}
    epochs = fit_gac(contestants, sample.images, sample.labels, samples, 0, seeded(1), seeded(2), **settings)
    return contestants, list(epochs)


def test_losses_equal_a_hand_computation() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    generated_logits = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    clean = (np.log(2) + np.log(1 + np.e)) / 2
    fooled = (np.log(1 + np.exp(2)) + np.log(2)) / 2
    assert classifier_loss(logits, generated_logits, labels).item() == pytest.approx(clean + fooled)
    images = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    generated = torch.full_like(images, 0.5)  # squared norm of each: 4 x 0.25
    generated[1] = 0
    assert squared_l2(generated, images).item() == 0.5
    loss = generator_loss(generated_logits, labels, generated, images, 3.0)
    assert loss.item() == pytest.approx(3 * 0.5 - fooled)


def test_gradients_of_the_losses() -> None:
    random = seeded()
    logits, generated_logits = (torch.randn(4, 3, generator=random, dtype=torch.float64) for _ in range(2))
    images, generated = (torch.rand(4, 1, 3, 3, generator=random, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 0])
    inputs = logits.requires_grad_(), generated_logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: classifier_loss(a, b, labels), inputs)
    both = generated_logits, generated.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: generator_loss(a, labels, b, images, 0.7), both)


@pytest.mark.parametrize("version", VERSIONS)
def test_with_the_identity_as_generator_the_classifier_sees_twice_the_controls_loss(version: str) -> None:
    sample = toy()
    contestants = new(version, sample)
    images = sample.images.float() / 255
    generated = contestants.generator(images)
    assert torch.equal(generated, images)  # it starts as the identity
    gac, control = (contestants.classifiers[name].train() for name in (GAC, CONTROL))
    twice = classifier_loss(gac(images), gac(generated), sample.labels)
    once = functional.cross_entropy(control(images), sample.labels)
    assert twice.item() == 2 * once.item()


@pytest.mark.parametrize("version", VERSIONS)
def test_lambda_zero_leaves_the_generator_free_and_a_large_one_makes_it_the_identity(version: str) -> None:
    sample = toy()
    norms, fooled = {}, {}
    for lambda_ in (0.0, 1000.0):
        _, epochs = train(version, sample, (GAC,), lambda_=lambda_, epochs=6)
        last = [epoch for epoch in epochs if epoch.split == "train"][-1]
        norms[lambda_], fooled[lambda_] = last.perturbation_l2, last.fooled
    assert norms[0.0] > 1.5
    assert norms[1000.0] < 0.05
    assert fooled[1000.0] < 0.05


@pytest.mark.parametrize("version", VERSIONS)
def test_contestants_start_alike_and_the_control_does_not_depend_on_the_others(version: str) -> None:
    sample = toy()
    fresh = new(version, sample).classifiers
    for name in (CONTROL, NOISE):
        for one, other in zip(fresh[GAC].parameters(), fresh[name].parameters(), strict=True):
            assert torch.equal(one, other)
    together, _ = train(version, sample)
    again, epochs = train(version, sample)
    alone, _ = train(version, sample, (GAC, CONTROL))
    for name in (GAC, CONTROL):
        for one, other, third in zip(
            *(models.classifiers[name].parameters() for models in (together, again, alone)), strict=True
        ):
            assert torch.equal(one, other)
            assert torch.equal(one, third)
    first = next(iter(together.classifiers[NOISE].parameters()))
    assert not torch.equal(first, next(iter(together.classifiers[CONTROL].parameters())))
    assert len(epochs) == 3 * 2 * 3
    assert {epoch.model for epoch in epochs if epoch.perturbation_l2 is not None} == {GAC}
    assert [epoch.accuracy for epoch in epochs if epoch.split == "train"][-3] > 0.9


def test_the_control_learns_as_a_plain_loop_does() -> None:
    sample = toy()
    contestants, _ = train("vanilla", sample)
    fresh = new("vanilla", sample)
    model = fresh.classifiers[CONTROL].train()
    optimizer, order = torch.optim.Adam(model.parameters(), lr=5e-3), seeded(1)
    steps = 3 * 6
    for step in range(steps):
        if step % 6 == 0:
            rows = torch.randperm(120, generator=order).split(20)
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
        batch = rows[step % 6]
        optimizer.zero_grad()
        functional.cross_entropy(model(sample.images[batch].float() / 255), sample.labels[batch]).backward()
        optimizer.step()
    for one, other in zip(model.parameters(), contestants.classifiers[CONTROL].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_generated_images_stay_in_the_box(version: str) -> None:
    contestants, _ = train(version, toy(), (GAC,), lambda_=0.0)
    generated = generate(contestants.generator, toy().images)
    assert generated.min() >= 0
    assert generated.max() <= 1
    assert generated.shape == toy().images.shape


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(PipelineError, match="a 28x7 image cannot be halved 3 times: give fewer"):
        DcganGenerator((1, 28, 7), channels=(4, 4, 4))


def test_generated_images_are_of_any_sides() -> None:
    images = torch.rand(2, 3, 13, 10)
    torch.testing.assert_close(DcganGenerator((3, 13, 10), channels=(4, 4)).eval()(images), images)  # as it starts


def test_a_failed_training_says_why() -> None:
    sample = toy()
    contestants = new("vanilla", sample, (GAC,))
    with torch.no_grad():
        contestants.generator.layers[-2].bias.fill_(torch.nan)
    with pytest.raises(TrainingFailed, match="diverged in epoch 1: a loss is no number"):
        list(fit_gac(contestants, sample.images, sample.labels, {}, 0, seeded(1), seeded(2), **SETTINGS))
    guessed = replace(sample, labels=torch.randint(3, (120,), generator=seeded(9)))
    with pytest.raises(TrainingFailed, match=r"collapsed in epoch 2: gac gets \d\d\.\d% right, a guess"):
        train("vanilla", guessed, (GAC,), learning_rate=1e-9)


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
    assert set(learned.models) == {"", CONTROL, NOISE}
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


def test_gain_is_the_paired_difference() -> None:
    right = {GAC: np.array([True, True, False, True]), CONTROL: np.array([True, False, False, False])}
    gac, control = compare_accuracy(0, "minimal", "test", right, np.arange(4))
    assert (gac.accuracy, control.accuracy, control.gain) == (0.75, 0.25, 0.5)
    assert gac.gain is None


def trial(lambda_: float, gain: float | None, clean: float = 0.98, originals: int = 1000) -> GacTrial:
    status = "diverged" if gain is None else "ok"
    return GacTrial("a", lambda_, 1, originals, 9 * originals, originals, status, clean, 0.98, gain=gain)


@pytest.mark.parametrize(
    ("trials", "chosen", "narrow"),
    [
        ([trial(1, 0.01), trial(0.1, 0.03), trial(0, None)], 0.1, False),
        ([trial(1, 0.01), trial(0.1, 0.2, clean=0.965)], 1, False),  # it costs too much
        ([trial(1, 0.01), trial(0.1, 0.03, clean=0.97)], 0.1, True),  # a point exactly, and an original more
        ([trial(1, 0.03), trial(0.1, 0.03), trial(0.3, 0.03)], 0.1, True),  # a tie: the smallest
        ([trial(1, 0.031), trial(0.1, 0.03)], 1, True),
        ([trial(1, -0.1), trial(0.1, -0.2)], 1, False),
        ([trial(1, 0.1, clean=0.9), trial(0, None)], None, False),
        ([], None, False),
    ],
)
def test_the_lambda_of_the_largest_gain_is_chosen_that_keeps_clean_accuracy(
    trials: list[GacTrial], chosen: float | None, narrow: bool
) -> None:
    choice = choose_lambda(trials)
    assert (choice.value, choice.narrow) == (chosen, narrow)
    assert [row["lambda_"] for row in choice.tried] == [entry.lambda_ for entry in trials]


@pytest.mark.parametrize("seeds", [1, 2])
def test_summary_of_a_version(seeds: int) -> None:
    gains = {CONTROL: (0.1, 0.05, 0.2), NOISE: (0.0, -0.1, 0.1)}
    accuracies = pd.DataFrame(
        vars(Accuracy(seed, model, "minimal", "test", 9, 0.5, *gain))
        for seed in (*range(seeds), MEAN)
        for model, gain in (
            (GAC, ()),
            (CONTROL, (0.1 + 0.02 * seed, 0.05, 0.2) if seed != MEAN else gains[CONTROL]),
            (NOISE, gains[NOISE]),
        )
    )
    robustness = pd.DataFrame(
        {"seed": seed, "model": model, "original_row": row, "l2": l2 * scale}
        for seed in range(seeds)
        for model, scale in ((GAC, 2), (CONTROL, 1), (NOISE, 1))
        for row, l2 in enumerate((1.0, 2.0, np.nan))
    )
    failed = pd.DataFrame({"seed": [7], "status": ["diverged"]})
    summary = summarize_gac(accuracies, robustness, failed)
    assert summary["failed"] == [{"seed": 7, "status": "diverged"}]
    gain = summary["gain"]["minimal"]["over_control"]
    assert gain["value"] == pytest.approx(0.1 + 0.01 * (seeds - 1))
    assert summary["interval"] == ("over originals" if seeds == 1 else "over trainings and originals")
    if seeds == 1:
        assert (gain["low"], gain["high"]) == (0.05, 0.2)
    else:  # Student's half-width and that over originals, in squares
        half = stats.t.interval(0.95, 1, 0, 0.01)[1]
        assert gain["low"] == pytest.approx(0.11 - np.hypot(half, 0.05))
        assert gain["high"] == pytest.approx(0.11 + np.hypot(half, 0.1))
    attacked = summary["minimal_against_it"]
    assert attacked["l2_median"] == {GAC: 4.0, CONTROL: 2.0, NOISE: 2.0}  # a perturbation that was not found is longest
    assert attacked["l2_ratio"]["over_control"]["value"] == 2
    assert attacked["success_rate"][GAC] == pytest.approx(2 / 3)


def test_gains_are_of_every_attack_over_each_control() -> None:
    one, many = {"value": 0.1, "trainings": 5}, {"value": -0.3, "trainings": 5}
    compared = {
        CONTROL: {"minimal": {"recovered": one}, "fgsm": {"recovered": many, "thwarted": one}},
        NOISE: {"minimal": {"recovered": many}},
    }
    assert gains_on(compared) == {
        "minimal": {"over_control": one, "over_noise_control": many},
        "fgsm": {"over_control": many},
    }


def test_mean_curves_have_a_column_per_model_and_split() -> None:
    curves = [
        GacEpoch(epoch, "test", 0.1, 0.5 + 0.1 * seed, model, seed, None, None)
        for seed in (0, 1)
        for epoch in (1, 2)
        for model in (GAC, CONTROL)
    ]
    table = pd.DataFrame(map(vars, mean_curves(curves)))
    assert list(table) == ["epoch", "gac_test", "control_test"]
    assert table["gac_test"].tolist() == pytest.approx([0.55, 0.55])


def test_equal_classifiers_gain_nothing_and_the_interval_says_how_sure_that_is() -> None:
    right = {GAC: np.ones(40, bool), CONTROL: np.ones(40, bool)}
    _, control = compare_accuracy(0, "minimal", "test", right, np.arange(40))
    assert control.gain == 0
    assert control.gain_low == -control.gain_high == pytest.approx(-(1 - 0.025 ** (1 / 40)))


def test_changes_are_one_of_each_kind_the_wanted_first() -> None:
    labels = np.array([4, 4, 5, 9, 1, 4], np.uint8)
    before = np.array([4, 4, 5, 9, 2, 4])
    after = np.array([7, 7, 3, 9, 4, 9])
    assert find_changes(labels, before, after, ((4, 9), (0, 8), (4, 7)), 7) == [5, 0, 2]
    assert find_changes(labels, before, after, ((4, 9),), 1) == [5]


def test_the_attack_on_each_model_needs_what_the_closed_form_says() -> None:
    """Two classes with opposite weights: the shortest way is along w_t, a step more at most."""
    weak, strong = (Linear(seeded(4), classes=2) for _ in range(2))
    with torch.no_grad():
        weak.weight[1] = -weak.weight[0]
        strong.weight.copy_(weak.weight / weak.weight.norm() * 0.5)
        strong.weight[1] = -strong.weight[0]
        for model in (weak, strong):
            model.bias.copy_(-model(torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64))[0])
    images = torch.randint(120, 136, (20, 1, 4, 4), generator=seeded(5)).to(torch.uint8)
    labels = weak(images.double() / 255).argmax(1)
    results = dict(
        needed_against({"weak": weak, "strong": strong}, images, labels, 12, 8, step_size=1e-3, max_steps=9000)
    )
    for name, model in (("weak", weak), ("strong", strong)):
        found = results[name]
        assert found["l2"].shape == (12,)
        logits = model(images[found["original_row"]].double() / 255).detach()
        smallest = (logits[:, 0] - logits[:, 1]).abs() / (model.weight[0] - model.weight[1]).norm().detach()
        one_step = 1e-3 * model.weight[0].norm().item()
        assert (found["l2"] >= smallest.numpy() - 1e-12).all()
        assert (found["l2"] <= smallest.numpy() + one_step + 1e-12).all()
    with pytest.raises(PipelineError, match="no image is classified rightly by all of weak: nothing to attack"):
        dict(needed_against({"weak": weak}, images, 1 - labels, 5, 8, step_size=1e-3, max_steps=10))


def test_architectures_match_their_version() -> None:
    sample = toy()
    for version, generator, classifier in (
        ("vanilla", VanillaGenerator, FullyConnectedClassifier),
        ("dcgan", DcganGenerator, Classifier),
    ):
        contestants = new(version, sample)
        assert isinstance(contestants.generator, generator)
        assert all(isinstance(model, classifier) for model in contestants.classifiers.values())
    vanilla = VanillaGenerator((1, 4, 4), hidden=(8,))
    assert {type(layer) for layer in vanilla.layers} == {nn.Flatten, nn.Linear, nn.ReLU, nn.Tanh}
    convolutional = DcganGenerator((1, 8, 8), channels=(4, 8))
    assert not any(isinstance(layer, nn.Linear) for layer in convolutional.modules())
    assert convolutional(torch.rand(2, 1, 8, 8)).shape == (2, 1, 8, 8)
