"""The autoencoder's training: its loss, when it stops, what it leaves alone."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.models.dropout import sampling
from pipeline.training.autoencoder import Pairs, fit_autoencoder
from tests.autoencoders import SETTINGS, make_autoencoder, make_classifier, make_pairs
from tests.seeds import seeded


class Training:
    """A run of `fit_autoencoder` on the small pairs."""

    def __init__(self, residual: bool = False, **changes: object) -> None:
        self.model, self.classifier = make_autoencoder(residual=residual), make_classifier()
        self.before = {name: value.clone() for name, value in self.classifier.state_dict().items()}
        self.done = 0
        pairs, validation = make_pairs(), make_pairs(10, 4)
        self.epochs = list(
            fit_autoencoder(
                self.model, self.classifier, pairs, validation, seeded(9), self.advance, **{**SETTINGS, **changes}
            )
        )

    def advance(self, count: int) -> None:
        self.done += count

    def figures(self, split: str, what: str) -> list[float]:
        return [getattr(epoch, what) for epoch in self.epochs if epoch.split == split]


def test_training_takes_noise_off_and_leaves_the_classifier_alone() -> None:
    training = Training(epochs=20, patience=20)
    errors = training.figures("validation", "reconstruction_error")
    assert errors[-1] < 0.5 * 0.2**2
    assert errors[-1] < errors[0] / 3
    assert training.done == 20 * 120
    for name, value in training.classifier.state_dict().items():
        assert torch.equal(value, training.before[name])


@pytest.mark.parametrize("changes", [{}, {"clean_share": 0.5, "classifier_weight": 0.1, "flip": True}])
def test_same_seed_same_weights(changes: dict[str, object]) -> None:
    one, other = Training(**changes), Training(**changes)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_the_loss_is_error_plus_weighted_distance_of_the_logits() -> None:
    validation, classifier = make_pairs(10, 4), make_classifier()
    originals = validation.originals / 255
    model = make_autoencoder(dropout=0.0)  # no masks to draw again
    settings = {**SETTINGS, "epochs": 1, "classifier_weight": 0.5}
    epochs = list(fit_autoencoder(model, classifier, make_pairs(), validation, seeded(9), **settings))
    with torch.inference_mode():
        restored = model.eval()(originals)
        error = (restored - originals).square().mean()
        difference = (classifier(restored) - classifier(originals)).abs()
        distance = torch.where(difference < 1, 0.5 * difference.square(), difference - 0.5).mean()
    assert epochs[-1].split == "validation_clean"
    assert epochs[-1].reconstruction_error == pytest.approx(error.item(), rel=1e-4)
    assert epochs[-1].loss == pytest.approx((error + 0.5 * distance).item(), rel=1e-4)


def test_a_mirrored_input_is_compared_with_its_mirrored_original() -> None:
    """With inputs that are their originals and a decoder that gives them back, there is nothing to lose."""
    pairs = make_pairs()
    slope = (torch.linspace(30, 220, 8).to(torch.uint8)).expand(40, 1, 8, 8).clone()  # looks different mirrored
    same = Pairs(
        lambda rows: slope[pairs.original_row[rows]] / 255, pairs.original_row, pairs.target_labels, slope, pairs.labels
    )
    model = make_autoencoder(residual=True, dropout=0.0)
    nn.init.zeros_(model.decoder[-1].weight)
    nn.init.zeros_(model.decoder[-1].bias)
    settings = {**SETTINGS, "epochs": 1, "classifier_weight": 1.0, "flip": True, "learning_rate": 1e-12}
    epochs = list(fit_autoencoder(model, make_classifier(), same, same, seeded(), **settings))
    assert epochs[0].loss < 1e-6


def test_the_classifiers_term_brings_the_logits_nearer() -> None:
    def distance(training: Training) -> float:
        validation = make_pairs(10, 4)
        originals = validation.originals / 255
        with torch.inference_mode():
            restored = training.model.eval()(validation.images(torch.arange(30)))
            difference = training.classifier(restored) - training.classifier(originals)[validation.original_row]
        return float(difference.abs().mean())

    assert distance(Training(epochs=10, classifier_weight=1.0)) < distance(Training(epochs=10))


def test_with_clean_images_only_the_adversarial_ones_are_not_looked_at() -> None:
    def broken(rows: Tensor) -> Tensor:
        return torch.full((len(rows), 1, 8, 8), 0.5)

    pairs = make_pairs()
    blind = Pairs(broken, pairs.original_row, pairs.target_labels, pairs.originals, pairs.labels)
    weights = []
    for training in (pairs, blind):
        model = make_autoencoder()
        settings = {**SETTINGS, "clean_share": 1.0, "epochs": 1}
        list(fit_autoencoder(model, make_classifier(), training, make_pairs(10, 4), seeded(), **settings))
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])


def test_it_stops_early_and_keeps_the_best_epoch() -> None:
    # A training set of wrong originals: validation gets worse with every epoch but the first ones.
    pairs, validation = make_pairs(), make_pairs(10, 4)
    wrong = Pairs(pairs.images, pairs.original_row, pairs.target_labels, 255 - pairs.originals, pairs.labels)
    model, settings = make_autoencoder(), {**SETTINGS, "epochs": 30, "patience": 2}
    epochs = list(fit_autoencoder(model, make_classifier(), wrong, validation, seeded(), **settings))
    losses = [epoch.loss for epoch in epochs if epoch.split == "validation"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2 < 30
    model.eval()
    with torch.inference_mode(), sampling(model, seeded()):
        restored = model(validation.images(torch.arange(30)))
    error = (restored - validation.originals[validation.original_row] / 255).square().mean().item()
    assert error == pytest.approx(losses[best], rel=0.1)


def test_a_diverged_training_says_so() -> None:
    pairs = make_pairs()
    broken = Pairs(lambda rows: pairs.images(rows) * math.nan, *list(vars(pairs).values())[1:])
    with pytest.raises(PipelineError, match=r"training diverged in epoch 1: the loss is nan; lower learning_rate"):
        list(fit_autoencoder(make_autoencoder(), make_classifier(), broken, make_pairs(10, 4), seeded(), **SETTINGS))
