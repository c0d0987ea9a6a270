"""The autoencoder, its training, its ensemble, and the blur beside it."""

import math
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from pipeline.artifacts.pairs import open_pairs
from pipeline.defenses import autoencoder_ensemble as defense
from pipeline.defenses.autoencoder_ensemble import autoencoder_ensemble
from pipeline.defenses.autoencoder_without_dropout import autoencoder_without_dropout
from pipeline.defenses.gaussian_blur import blur, gaussian_blur
from pipeline.defenses.shared import restorations
from pipeline.defenses.shared.autoencoder_trials import (
    Architecture,
    AutoencoderTrial,
    Trials,
    choose_dropout,
    variations,
)
from pipeline.defenses.shared.restorations import choose_blur, examine
from pipeline.errors import PipelineError
from pipeline.metrics.comparisons import compare_evaluations
from pipeline.metrics.restorations import summarize_restorations
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier
from pipeline.models.cnn import Classifier
from pipeline.models.dropout import Dropout, sampling
from pipeline.training.autoencoder import AutoencoderTraining, Pairs, fit_autoencoder
from tests.sets import make_set
from tests.study import Study

CPU = torch.device("cpu")
SETTINGS = {
    "epochs": 3, "patience": 3, "batch_size": 16, "learning_rate": 5e-3, "clean_share": 0.0, "classifier_weight": 0.0,
    "flip": False,
}  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_autoencoder(side: int = 8, dropout: float = 0.3, residual: bool = False) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder((1, side, side), channels=(8, 16), dropout=dropout, residual=residual)


def make_classifier(side: int = 8) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Classifier((1, side, side), 3, channels=(8,), dropout=0.5)
    return model.eval().requires_grad_(False)


def make_pairs(count: int = 40, seed: int = 3) -> Pairs:
    """Originals of smooth brightness, three noisy images of each."""
    random = seeded(seed)
    shades = torch.rand(count, 1, 1, 1, generator=random).expand(-1, 1, 8, 8)
    originals = (shades * 255).to(torch.uint8)
    rows = torch.arange(count).repeat_interleave(3)
    noise = torch.randn(len(rows), 1, 8, 8, generator=random) * 0.2
    images = (originals[rows] / 255 + noise).clamp(0, 1)
    labels = torch.zeros(count, dtype=torch.int64)
    return Pairs(images.__getitem__, rows, torch.ones(len(rows), dtype=torch.int64), originals, labels)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_shape_and_range(channels: int, side: int, residual: bool) -> None:
    model = Autoencoder((channels, side, side), channels=(4, 8, 16), dropout=0.1, residual=residual).eval()
    images = torch.rand(3, channels, side, side, generator=seeded())
    images[0], images[1] = 0, 1
    with torch.inference_mode(), sampling(model, seeded()):
        restored = model(images)
    assert restored.shape == images.shape
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert torch.isfinite(restored).all()


def test_it_is_purely_convolutional() -> None:
    kinds = {type(module) for module in make_autoencoder().modules() if not list(module.children())}
    assert kinds == {nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, Dropout}


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"a 7x28 image cannot be halved 3 times"):
        Autoencoder((1, 7, 28), channels=(4, 4, 4, 4), dropout=0.0, residual=False)


@pytest.mark.parametrize("residual", [False, True])
def test_any_sides_come_out_as_they_went_in(residual: bool) -> None:
    model = Autoencoder((3, 13, 10), channels=(4, 4, 4), dropout=0.1, residual=residual).eval()
    images = torch.rand(2, 3, 13, 10, generator=seeded())
    assert model(images).shape == images.shape


def test_a_residual_decoder_of_zeros_gives_the_image_back() -> None:
    model = make_autoencoder(residual=True).eval()
    nn.init.zeros_(model.decoder[-1].weight)
    nn.init.zeros_(model.decoder[-1].bias)
    images = torch.rand(5, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        torch.testing.assert_close(model(images), images, atol=1.1e-3, rtol=0)


def test_ensemble_passes_are_the_whole_model_with_dropout_of_the_autoencoder_alone() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    images = torch.rand(4, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        logits = autoencoder_ensemble(model, images, seeded(5), passes=3)
        with sampling(model.autoencoder, seeded(5)):
            expected = torch.stack([model.classifier(model.autoencoder(images)) for _ in range(3)], dim=1)
    assert logits.shape == (4, 3, 3)
    torch.testing.assert_close(logits, expected)
    assert not torch.equal(logits[:, 0], logits[:, 1])
    assert all(layer.generator is None for layer in model.modules() if isinstance(layer, Dropout))


def test_without_dropout_it_is_one_plain_pass() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    images = torch.rand(4, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        logits = autoencoder_without_dropout(model, images, seeded())
        torch.testing.assert_close(logits[:, 0], model(images))


def test_the_mode_does_not_matter_and_is_restored() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    images = torch.rand(4, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        expected = autoencoder_ensemble(model, images, seeded(), passes=2)
        plain = autoencoder_without_dropout(model, images, seeded())
        model.train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        assert torch.equal(autoencoder_ensemble(model, images, seeded(), passes=2), expected)
        assert torch.equal(autoencoder_without_dropout(model, images, seeded()), plain)
    assert all(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_gradients_do_not_vanish_at_black_and_white() -> None:
    model = make_autoencoder(residual=True).eval().requires_grad_(False)
    nn.init.zeros_(model.decoder[-1].weight)
    images = torch.tensor([0.0, 0.0005, 0.5, 0.9999, 1.0]).view(5, 1, 1, 1).expand(5, 1, 8, 8).clone()
    expected = torch.logit(images, eps=1e-3).sigmoid()
    restored = model(images.requires_grad_())
    (gradient,) = torch.autograd.grad(restored.sum(), images)
    assert gradient.abs().min() > 0.5
    torch.testing.assert_close(restored.detach(), (expected.logit() + model.decoder[-1].bias).sigmoid())


def test_masks_differ_between_images_of_a_batch() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    one = torch.rand(1, 1, 8, 8, generator=seeded()).expand(2, 1, 8, 8)
    with torch.inference_mode():
        logits = autoencoder_ensemble(model, one, seeded(), passes=1)
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_equals_scipys(sigma: float) -> None:
    images = torch.rand(2, 3, 16, 16, generator=seeded(), dtype=torch.float64)
    expected = gaussian_filter(images.numpy(), sigma, mode="nearest", truncate=4.0, axes=(2, 3))
    np.testing.assert_allclose(blur(images, sigma).numpy(), expected, atol=1e-12)


def test_no_blur_is_the_classifier_itself() -> None:
    classifier, images = make_classifier(), torch.rand(2, 1, 8, 8, generator=seeded())
    assert blur(images, 0) is images
    torch.testing.assert_close(gaussian_blur(classifier, images, seeded(), sigma=0)[:, 0], classifier(images))


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


def test_pairs_hold_fooled_train_images_and_no_others(tmp_path: Path) -> None:
    path, other = tmp_path / "minimal.h5", tmp_path / "extended.h5"
    sources, images, margins = make_set(path)
    shutil.copy(path, other)
    with h5py.File(other, "r+") as file:  # another set of the same originals, fooled elsewhere
        file["is_adversarial"][:] = file["is_adversarial"][:][::-1]
    wanted = np.array([True, False, False, False, True])  # originals 2 and 0 of the set; 1 is number 2
    train = (sources.original_row == 0) | (sources.original_row == 2)
    rows = [np.flatnonzero(train & (margins > 0)), np.flatnonzero(train & (margins[::-1] > 0))]
    assert not np.array_equal(*rows)
    both = np.concatenate(rows)
    with open_pairs([path, other], wanted, CPU) as pairs:
        np.testing.assert_array_equal(pairs.images(torch.arange(len(pairs))), images[both])
        np.testing.assert_array_equal(pairs.target_labels, sources.target_labels[both])
        np.testing.assert_array_equal(
            pairs.originals[pairs.original_row], sources.originals[sources.original_row[both]]
        )
        np.testing.assert_array_equal(pairs.labels[pairs.original_row], sources.labels[both])
        assert len(pairs.originals) == 2
    with open_pairs([path], wanted, CPU, originals=1) as pairs:
        assert len(pairs.originals) == 1
    with (
        pytest.raises(PipelineError, match="expected fooled images of the train split, found none"),
        open_pairs([path], np.zeros(5, bool), CPU),
    ):
        pass
    with pytest.raises(PipelineError, match="not of this images file"), open_pairs([path], np.ones(3, bool), CPU):
        pass


def test_an_original_is_on_one_side_of_the_validation_split(tmp_path: Path) -> None:
    path = tmp_path / "minimal.h5"
    sources, images, margins = make_set(path)
    held_out = np.array([False, False, True, False, False])
    with open_pairs([path], held_out, CPU) as validation, open_pairs([path], ~held_out, CPU) as training:
        kept = {image.numpy().tobytes() for image in validation.originals}
        seen = {image.numpy().tobytes() for image in training.originals}
        assert not kept & seen
        assert kept | seen == {image.tobytes() for image in sources.originals[sources.source_split == 0]}
        fooled = (sources.source_split[sources.original_row] == 0) & (margins > 0)
        assert len(validation) + len(training) == fooled.sum()
        found = torch.cat([part.images(torch.arange(len(part))) for part in (validation, training)])
        assert {image.numpy().tobytes() for image in found} == {image.tobytes() for image in images[fooled]}


def test_streamed_batches_are_those_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "minimal.h5"
    make_set(path)
    wanted = np.ones(5, bool)
    with open_pairs([path, path], wanted, CPU) as held, open_pairs([path, path], wanted, CPU, memory_limit=0) as read:
        rows = torch.randperm(len(held), generator=seeded())
        assert not isinstance(getattr(read.images, "__self__", None), Tensor)
        for part in (rows, rows[:1], rows[3:5]):
            assert torch.equal(held.images(part), read.images(part))


def trial(
    varied: str, dropout: float, shares: tuple[float, float, float], passes: int = 20, originals: int = 10000
) -> AutoencoderTrial:
    clean, minimal, extended = shares
    return AutoencoderTrial("a", varied, dropout, 0, 0, 10, 1, originals, passes, clean, 1, minimal, 1, extended)


BASE = trial("base", 0.1, (0.9, 0.9, 0.9))


@pytest.mark.parametrize(
    ("trials", "chosen", "narrow"),
    [
        (
            [
                BASE,
                trial("dropout", 0.0, (0.99, 0.99, 0.99)),
                trial("dropout", 0.2, (0.91, 0.89, 0.88)),
                trial("dropout", 0.4, (0.95, 0.8, 0.8)),
                trial("clean_share", 0.4, (1, 1, 1)),  # varied in something else
                trial("dropout", 0.6, (1, 1, 1), passes=1),  # fewer passes
            ],
            0.2,
            False,
        ),
        ([BASE, trial("dropout", 0.2, (0.89, 0.89, 0.89))], 0.2, True),  # a point exactly, and an original more
        ([BASE, trial("dropout", 0.2, (0.88, 0.89, 0.9))], 0.2, True),  # the same mean by other shares
        ([BASE, trial("dropout", 0.2, (0.9, 0.9, 0.9))], 0.2, False),  # equally good: there is no tie, more is meant
        ([BASE, trial("dropout", 0.2, (0.88, 0.89, 0.899), originals=1000)], 0.1, True),
        ([trial("base", 0.0, (1, 1, 1))], None, False),  # nothing above 0 was tried
    ],
)
def test_dropout_is_the_largest_that_costs_little(
    trials: list[AutoencoderTrial], chosen: float | None, narrow: bool
) -> None:
    choice = choose_dropout(trials)
    assert (choice.value, choice.narrow) == (chosen, narrow)
    assert all(row["average"] == pytest.approx(np.mean([row["clean_accuracy"], row["minimal_recovered"],
        row["extended_recovered"]])) for row in choice.tried)  # fmt: skip


def test_trials_differ_from_the_base_in_one_parameter() -> None:
    training = AutoencoderTraining(**{**SETTINGS, "clean_share": 0.3})
    trials = Trials(
        originals=9, epochs=1, passes=(1,), dropout=(0.1, 0, 0.3), clean_share=(0.3, 0), classifier_weight=(0.1,)
    )
    found = [
        (varied, dropout, settings.clean_share, settings.classifier_weight, settings.epochs)
        for varied, dropout, settings in variations(training, trials)
    ]
    assert found == [
        ("base", 0.1, 0.3, 0, 1),
        ("dropout", 0, 0.3, 0, 1),
        ("dropout", 0.3, 0.3, 0, 1),
        ("clean_share", 0.1, 0, 0, 1),  # the other is the base's
        ("classifier_weight", 0.1, 0.3, 0.1, 1),
    ]


@pytest.mark.parametrize(
    ("errors", "chosen", "narrow"),
    [
        ({0.4: 0.1, 0.5: 0.7, 1.0: 1.2, 2.0: 9.0}, 1, False),  # as a ratio
        ({2.0: 2.0, 0.5: 0.5}, 0.5, False),  # a tie: the smaller
        ({0.5: 0.2}, 0.5, False),
    ],
)
def test_blur_is_the_one_of_nearest_error_on_originals(errors: dict[float, float], chosen: float, narrow: bool) -> None:
    choice = choose_blur({sigma: np.full(20, error) for sigma, error in errors.items()}, np.ones(20))
    assert (choice.value, choice.narrow) == (chosen, narrow)
    assert [row["sigma"] for row in choice.tried] == sorted(errors)


@pytest.mark.parametrize("odd", [1, 2])
def test_a_blur_that_hangs_on_few_originals_is_narrow(odd: int) -> None:
    """Without its odd originals the smaller sigma is the nearest; with them the larger one."""
    small, large = np.full(20, 1.1), np.full(20, 1.2)
    large[:odd] = 1.2 - 2.5 / odd
    assert choose_blur({0.5: small, 1.0: large}, np.ones(20)).value == 1
    assert choose_blur({0.5: small, 1.0: large}, np.ones(20)).narrow
    assert not choose_blur({0.5: small, 1.0: large[odd:].repeat(2)[:20]}, np.ones(20)).narrow


def test_summary_of_restorations_has_the_blur_that_is_used() -> None:
    rows: list[dict[str, Any]] = [
        {"method": method, "sigma": sigma, "kind": kind, "reconstruction_error": error * scale}
        for kind, scale in (("clean", 1), ("minimal", 10))
        for method, sigma, error in (("nothing", 0, 0.1), ("gaussian_blur", 0.4, 0.5), ("gaussian_blur", 0.5, 0.7))
    ]
    assert summarize_restorations(rows, 0.5) == {
        "nothing": {"clean": 0.1, "minimal": 1.0},
        "gaussian_blur": {"clean": 0.7, "minimal": 7.0},
    }
    assert set(summarize_restorations(rows)) == {"nothing"}


BLOCK: dict[str, Any] = {
    "architecture": Architecture(channels=(4, 8), residual=False),
    "training": AutoencoderTraining(**{**SETTINGS, "epochs": 2}),
    "trials": Trials(originals=30, epochs=1, passes=(1, 3), dropout=(0.1, 0.0), clean_share=(0.5,)),
    "sigmas": (0.3, 0.6),
}


def test_a_family_learns_and_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.artifacts.shards.WORK", tmp_path / "work")
    study = Study(tmp_path)
    learned = defense.learn(study.materials("toy"), **BLOCK)
    assert [(row.varied, row.dropout, row.clean_share, row.passes) for row in learned.trials] == [
        (varied, dropout, share, passes)
        for varied, dropout, share in (("base", 0.1, 0), ("dropout", 0, 0), ("clean_share", 0.1, 0.5))
        for passes in (1, 3)
    ]
    assert {row.training_originals for row in learned.trials} == {30}
    assert {row.originals for row in learned.trials} == {12}
    assert learned.choices["dropout"].value == learned.models[""].architecture["dropout"] == 0.1
    assert learned.choices["gaussian_blur.sigma"].value in (0.3, 0.6)
    assert [row.epoch for row in learned.curves if row.split == "validation"] == [1, 2]
    errors = {(row.method, row.sigma, row.kind): row for row in learned.tables["errors"]}
    assert len(errors) == 5 * 3
    assert errors["nothing", 0, "clean"].reconstruction_error == 0
    # By hand: of each original the mean over its images, then over originals.
    rows = study.materials("toy").rows("minimal", study.materials("toy").held_out)
    squares = ((rows.images - rows.originals[rows.original_row] / 255) ** 2).flatten(1).mean(1)
    each = [squares[rows.original_row == number].mean() for number in range(len(rows.originals))]
    assert errors["nothing", 0, "minimal"].reconstruction_error == pytest.approx(float(np.mean(each)), rel=1e-5)

    examined = examine(study.materials("toy"), learned)
    picture = examined.pictures["restored"]
    assert (picture.kinds, picture.methods) == (("clean", "minimal", "extended"), ("toy", "gaussian_blur"))
    assert picture.labels.tolist() == [0, 1, 2]
    assert picture.target_labels.tolist() == [1, 2, 0]
    assert picture.inputs.shape == (3, 3, 1, 8, 8)
    assert picture.restored.shape == (2, 3, 3, 1, 8, 8)
    originals = study.splits["test"].images / np.float32(255)
    assert all((picture.inputs[0, row] == originals).all((1, 2, 3)).any() for row in range(3))
    np.testing.assert_allclose(
        picture.restored[1, 1],
        blur(torch.from_numpy(picture.inputs[1]), learned.choices["gaussian_blur.sigma"].value),
        atol=1e-6,
    )
    given = examine(study.materials("toy"), learned, sigma=0.0).pictures["restored"]
    np.testing.assert_array_equal(given.restored[1], given.inputs)


def test_a_number_for_dropout_is_used_and_auto_needs_trials(tmp_path: Path) -> None:
    study = Study(tmp_path)
    number = Architecture(channels=(4, 8), residual=False, dropout=0.4)
    block = {**BLOCK, "trials": None, "sigmas": ()}
    learned = defense.learn(study.materials("toy"), **{**block, "architecture": number})
    assert learned.models[""].architecture["dropout"] == 0.4
    assert learned.choices == {}
    assert examine(study.materials("toy"), learned).pictures["restored"].methods == ("toy",)
    with pytest.raises(PipelineError, match=r"toy\.learn\.architecture\.dropout: auto, but there are no trials"):
        defense.learn(study.materials("toy"), **block)


def test_of_images_towards_other_classes_none_are_shown(tmp_path: Path) -> None:
    study = Study(tmp_path)
    with h5py.File(study.sets["extended"], "r+") as file:
        file["is_adversarial"][:] = file["target_labels"][:] != (file["labels"][:] + 1) % 3
    with pytest.raises(PipelineError, match="toy: expected test images that minimal and extended fooled, found none"):
        restorations._shown(study.materials("toy"))


def test_defenses_are_compared_image_by_image() -> None:
    def evaluation(recovered: list[bool]) -> pd.DataFrame:
        attacks = ["clean_all", "clean", "clean", *["minimal"] * 4, "noise_minimal"]
        frame = pd.DataFrame(
            {"attack": attacks, "row": [0, 0, 1, 0, 1, 2, 3, 0], "original_row": [0, 0, 1, 0, 0, 1, 1, 0]}
        )
        frame = frame.assign(recovered=[True, True, True, *recovered, True], thwarted=[None] * 3 + recovered + [None])
        return frame.assign(training=0)

    one, other = evaluation([True, True, True, False]), evaluation([True, False, False, False])
    compared = compare_evaluations(one, other)
    assert set(compared) == {"clean", "minimal"}
    difference = compared["minimal"]["recovered"]
    assert difference["value"] == 0.5
    assert difference["originals"] == 2
    assert difference["low"] < 0 < 0.5 < difference["high"]  # two originals show nothing, alike as they are
    assert compared["minimal"]["thwarted"] == compared["minimal"]["recovered"]
    assert compared["clean"]["recovered"]["value"] == 0
    with pytest.raises(PipelineError, match="the same images of 'minimal'"):
        compare_evaluations(one, other[other["row"] != 3])
