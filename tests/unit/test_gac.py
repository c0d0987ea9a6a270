"""The Generative Adversarial Classifier: losses, generators, training beside its controls, what comes out of it."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from scipy import stats
from torch import nn
from torch.nn import functional

from pipeline.artifacts import contests
from pipeline.artifacts.adversarial import open_adversarial
from pipeline.artifacts.contests import (
    TrainingStatus,
    pack_training,
    read_failed,
    rows_of,
    save_contestants,
    unpack_training,
)
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.generated import Generated, read_generated, write_generated
from pipeline.artifacts.shards import ShardStore
from pipeline.attacks.shared.comparison import needed_against
from pipeline.defenses.generative_adversarial_classifier import classifier_loss, generator_loss, squared_l2
from pipeline.errors import PipelineError
from pipeline.metrics.gains import (
    MEAN,
    Accuracy,
    GacTrial,
    compare_accuracy,
    find_changes,
    mean_curves,
    over_trainings,
    summarize_gac,
)
from pipeline.metrics.lambda_choice import choose_lambda
from pipeline.metrics.splits import training_mask, validation_mask
from pipeline.models.classifier import Classifier, FullyConnectedClassifier
from pipeline.models.generators import DcganGenerator, VanillaGenerator
from pipeline.stages import calibrate_gac
from pipeline.training import gac_sweep
from pipeline.training.gac import (
    CLASSES,
    CONTROL,
    GAC,
    NOISE,
    Contestants,
    GacEpoch,
    GacSettings,
    Sample,
    TrainingFailed,
    fit_gac,
    gac_settings,
    generate,
    new_contestants,
)
from tests.linear import Linear
from tests.root import ROOT
from tests.sets import make_set

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 20,
    "learning_rate": 5e-3,
    "generator_learning_rate": 5e-3,
    "lambda_": 0.1,
}
PARTS = {
    "gac_vanilla": {"generator": {"hidden": (32,)}, "classifier": {"hidden": (16,)}},
    "gac_dcgan": {"generator": {"channels": (4, 8)}, "classifier": {"channels": (6,), "dropout": 0.0}},
}
VERSIONS = list(PARTS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings_of(version: str, **training: Any) -> GacSettings:
    return GacSettings(
        share=0.5, seeds=1, training={**SETTINGS, **training}, lambdas=(0.0, 0.1), trial_epochs=2, **PARTS[version]
    )  # type: ignore[arg-type]


def toy(count: int = 120) -> Sample:
    """Three classes, a bright band each, with noise: uint8 (n, 1, 8, 8)."""
    labels = torch.arange(count) % 3
    images = torch.rand(count, 1, 8, 8, generator=seeded(3)) * 60
    for label in range(3):
        images[labels == label, :, 2 * label : 2 * label + 2] += 120
    return Sample(images.to(torch.uint8), labels, generated=True)


def train(
    version: str, sample: Sample, wanted: tuple[str, ...] = (GAC, CONTROL, NOISE), **training: Any
) -> tuple[Contestants, list[GacEpoch]]:
    settings = settings_of(version, **training)
    contestants = new_contestants(version, sample.images, 3, (0, version), settings, wanted)
    samples = {"train": sample, "adversarial_test": replace(sample, generated=False)}
    epochs = fit_gac(contestants, sample.images, sample.labels, samples, 0, seeded(1), seeded(2), **settings.training)
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
    contestants = new_contestants(version, sample.images, 3, (0, version), settings_of(version))
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
    fresh = new_contestants(version, sample.images, 3, (0, version), settings_of(version)).classifiers
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
    contestants, _ = train("gac_vanilla", sample)
    fresh = new_contestants("gac_vanilla", sample.images, 3, (0, "gac_vanilla"), settings_of("gac_vanilla"))
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
    with pytest.raises(PipelineError, match="a 28x28 image cannot be halved 3 times: give fewer"):
        DcganGenerator((1, 28, 28), channels=(4, 4, 4))


def test_a_failed_training_says_why() -> None:
    sample = toy()
    settings = settings_of("gac_vanilla")
    contestants = new_contestants("gac_vanilla", sample.images, 3, (0,), settings, (GAC,))
    with torch.no_grad():
        contestants.generator.layers[-2].bias.fill_(torch.nan)
    with pytest.raises(TrainingFailed, match="diverged in epoch 1: a loss is no number"):
        list(fit_gac(contestants, sample.images, sample.labels, {}, 0, seeded(1), seeded(2), **settings.training))
    guessed = replace(sample, labels=torch.randint(3, (120,), generator=seeded(9)))
    with pytest.raises(TrainingFailed, match=r"collapsed in epoch 2: gac gets \d\d\.\d% right, a guess"):
        train("gac_vanilla", guessed, (GAC,), learning_rate=1e-9)


def test_a_sweep_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    real, sample = fit_gac, toy()

    def spoiled(contestants: Contestants, *arguments: Any, **settings: Any) -> Any:
        if settings["lambda_"] == 0.1:
            with torch.no_grad():
                contestants.generator.layers[-2].bias.fill_(torch.nan)
        return real(contestants, *arguments, **settings)

    monkeypatch.setattr(gac_sweep, "fit_gac", spoiled)
    results = list(
        gac_sweep.try_lambdas(
            "gac_vanilla",
            sample,
            sample,
            replace(sample, generated=False),
            np.arange(120),
            sample.images[:3],
            3,
            (0,),
            settings_of("gac_vanilla"),
            lambda what: seeded(len(what)),
        )
    )
    (failed, nothing), (trial, made) = results
    assert failed.lambda_ == 0.1
    assert "diverged" in failed.status
    assert failed.gain is None
    assert nothing is None
    assert trial.status == "ok"
    assert trial.gain_low <= trial.gain <= trial.gain_high
    assert trial.gain == pytest.approx(trial.accuracy - trial.control_accuracy)
    assert made[0].shape == (3, 1, 8, 8)


def test_params_blocks_are_checked_part_by_part() -> None:
    block = {
        "share": 0.5, "seeds": 1, "generator": {"hidden": [8]}, "classifier": {"hidden": [8]}, "training": SETTINGS,
        "lambdas": [0.1], "trial_epochs": 1,
    }  # fmt: skip
    assert gac_settings("gac_vanilla", block, "gac").generator == {"hidden": (8,)}
    for part, wrong, message in (
        ("share", 0.95, r"gac\.share: expected a number in \(0, 0\.9\], found 0\.95"),
        ("generator", {"channels": [8]}, r"gac\.generator\.channels: unknown parameter; expected one of: hidden"),
        (
            "training",
            {**SETTINGS, "lambda_": -1},
            r"gac\.training\.lambda_: expected a number in \[0, 10000\], found -1",
        ),
    ):
        with pytest.raises(PipelineError, match=message):
            gac_settings("gac_vanilla", {**block, part: wrong}, "gac")


def test_a_finished_training_is_kept_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.artifacts.shards.WORK", tmp_path / "work")
    sample = toy()
    contestants, curves = train("gac_dcgan", sample)
    store = ShardStore([], {"a": 1})
    store.fill(1, lambda number: pack_training(contestants, curves, "ok"))
    other = new_contestants("gac_dcgan", sample.images, 3, (5,), settings_of("gac_dcgan"))
    assert unpack_training(next(store.load(1)), other) == (curves, "ok")
    for one, two in zip(
        contestants.generator.state_dict().values(), other.generator.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two)
    write_curves(
        tmp_path / "t/trainings.csv", [contests.TrainingStatus(0, "diverged"), contests.TrainingStatus(1, "ok")]
    )
    save_contestants(tmp_path / "t/1", contestants)
    loaded = contests.load_contestants(tmp_path / "t")
    assert list(loaded) == [1]
    images = sample.images.float() / 255
    with torch.inference_mode():
        for name, model in contestants.classifiers.items():
            for key, weights in model.state_dict().items():
                assert torch.equal(loaded[1].classifiers[name].state_dict()[key], weights), key
            # What is loaded lies otherwise in memory, and some CPUs then sum in another order.
            torch.testing.assert_close(loaded[1].classifiers[name](images), model.eval()(images))
        # Another memory format: equal up to rounding.
        torch.testing.assert_close(loaded[1].generator(images), contestants.generator.eval()(images))


def test_parts_of_a_set_share_no_original(tmp_path: Path) -> None:
    sources, _, margins = make_set(tmp_path / "set.h5")
    seen = np.array([True, False, False, False, True])  # of the train split's images; 0, 2 and 4 are attacked
    with open_adversarial(tmp_path / "set.h5") as set_:
        rows = {part: rows_of(set_, seen, part) for part in contests.PARTS}
        images = contests.read_rows(set_, rows["unseen"], torch.device("cpu"))
    assert sorted(np.concatenate(list(rows.values()))) == np.flatnonzero(margins > 0).tolist()
    index, split = (values[sources.original_row] for values in (sources.source_index, sources.source_split))
    assert set(index[rows["seen"]]) == {0, 4}
    assert set(index[rows["unseen"]]) == {2}
    assert (split[rows["test"]] == 1).all()
    assert images.labels.tolist() == sources.labels[rows["unseen"]].tolist()


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


def test_the_lambda_of_the_largest_gain_is_chosen_that_keeps_clean_accuracy() -> None:
    def trial(defense: str, lambda_: float, gain: float, clean: float) -> GacTrial:
        return GacTrial(defense, lambda_, 1, 10, "ok", clean, 0.98, gain=gain)

    trials = [
        trial("a", 1, 0.01, 0.98),
        trial("a", 0.1, 0.03, 0.971),
        trial("a", 0.05, 0.2, 0.969),
        GacTrial("a", 0, 1, 10, "diverged"),
        trial("b", 1, 0.1, 0.9),
    ]
    assert choose_lambda(pd.DataFrame(map(vars, trials))) == {"a": 0.1}
    assert choose_lambda(pd.DataFrame(map(vars, trials[3:]))) == {}


def test_interval_over_trainings_is_students() -> None:
    values = np.array([0.01, 0.03, 0.02])
    rate = over_trainings(values)
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert (rate.low, rate.high) == pytest.approx(expected)


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


def test_mean_curves_have_a_column_per_model_and_split() -> None:
    curves = pd.DataFrame(
        vars(GacEpoch(epoch, "test", 0.1, 0.5 + 0.1 * seed, model, seed, None, None))
        for seed in (0, 1)
        for epoch in (1, 2)
        for model in (GAC, CONTROL)
    )
    table = mean_curves(curves)
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


def test_generated_images_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    examples = Generated(
        names=("a", "b"),
        originals=random.random((3, 1, 4, 4), np.float32),
        labels=np.arange(3, dtype=np.uint8),
        generated=random.random((2, 3, 1, 4, 4), np.float32),
        predicted_before=np.zeros((2, 3), np.uint8),
        predicted_after=np.ones((2, 3), np.uint8),
    )
    write_generated(tmp_path / "g.h5", examples)
    found = read_generated(tmp_path / "g.h5")
    assert found.names == ("a", "b")
    for name in ("originals", "labels", "generated", "predicted_before", "predicted_after"):
        np.testing.assert_array_equal(getattr(found, name), getattr(examples, name))


def test_architectures_match_their_version() -> None:
    assert {
        "gac_vanilla": (VanillaGenerator, FullyConnectedClassifier),
        "gac_dcgan": (DcganGenerator, Classifier),
    } == CLASSES
    vanilla = VanillaGenerator((1, 4, 4), hidden=(8,))
    assert {type(layer) for layer in vanilla.layers} == {nn.Flatten, nn.Linear, nn.ReLU, nn.Tanh}
    convolutional = DcganGenerator((1, 8, 8), channels=(4, 8))
    assert not any(isinstance(layer, nn.Linear) for layer in convolutional.modules())
    assert convolutional(torch.rand(2, 1, 8, 8)).shape == (2, 1, 8, 8)


def test_versions_of_different_shares_are_refused(tmp_path: Path) -> None:
    yaml = YAML(typ="safe")
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["gac"]["gac_dcgan"]["digits"]["share"] = 0.4
    with open(tmp_path / "params.yaml", "w") as handle:
        yaml.dump(params, handle)
    with pytest.raises(PipelineError, match=r"gac\.\*\.digits\.share: expected the same"):
        calibrate_gac.main(Namespace(dataset="digits", params=tmp_path / "params.yaml"))


def test_trainings_that_failed_are_told_with_their_reason(tmp_path: Path) -> None:
    statuses = [TrainingStatus(0, "ok"), TrainingStatus(1, "diverged in epoch 2"), TrainingStatus(2, "ok")]
    write_curves(tmp_path / "trainings.csv", statuses)
    failed = read_failed(tmp_path)
    assert failed.to_dict("records") == [{"seed": 1, "status": "diverged in epoch 2"}]
