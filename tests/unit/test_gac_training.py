"""The Generative Adversarial Classifier: losses, generators, training beside its controls."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.errors import PipelineError
from pipeline.models.cnn import Classifier
from pipeline.models.generators import DcganGenerator, VanillaGenerator
from pipeline.models.mlp import FullyConnectedClassifier
from pipeline.training.gac import CONTROL, GAC, NOISE, TrainingFailed, _guess, fit_gac, generate
from pipeline.training.gac_losses import classifier_loss, generator_loss, squared_l2
from tests.contestants import SETTINGS, VERSIONS, new, toy, train
from tests.seeds import seeded


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


@pytest.mark.parametrize(("classes", "least"), [(2, 5 / 9), (3, 11 / 27), (10, 0.2), (100, 0.02)])
def test_a_guess_is_little_above_chance(classes: int, least: float) -> None:
    model = FullyConnectedClassifier((1, 2, 2), classes, hidden=(4,))
    assert _guess(model) == pytest.approx(least)


def test_two_classes_can_be_trained_on() -> None:
    """Half of the labels right at random is a guess; most of them is none."""
    sample = toy()
    two = replace(sample, labels=(sample.labels > 0).long())
    contestants = new("vanilla", two, (GAC,))
    list(fit_gac(contestants, two.images, two.labels, {"train": two}, 0, seeded(1), seeded(2), **SETTINGS))


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
