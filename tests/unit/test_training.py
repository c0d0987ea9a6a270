"""Training: it learns, the same seed gives the same weights, augmentation moves pixels as it says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import mapper
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.weights import save_model
from pipeline.defenses import adversarial_training
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.errors import PipelineError
from pipeline.models.classifier import check_buildable
from pipeline.models.cnn import Classifier
from pipeline.models.inference import depth_and_width, for_inference, predict, to_unit_interval
from pipeline.models.pixels import unit_interval
from pipeline.models.precision import Precision
from pipeline.models.resnet import Block, ResNet
from pipeline.randomness import derive_seed, generator, seeded_initialization
from pipeline.registry import classifier_kinds
from pipeline.training.augmentation import shift_and_flip
from pipeline.training.classifier import (
    ClassifierTraining,
    Division,
    channel_statistics,
    fit_classifier,
    new_classifier,
)
from tests.capabilities import needs_bfloat16
from tests.study import TRAINING, Study

SETTINGS = {
    "epochs": 4, "batch_size": 16, "learning_rate": 0.05, "weight_decay": 0.0, "shift": 0, "flip": False,
}  # fmt: skip


def bars(count: int) -> tuple[Tensor, Tensor]:
    """Noisy 8x8 images whose class is the third of the image that is bright."""
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (count,), generator=random)
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=random, dtype=torch.uint8)
    for i, label in enumerate(labels.tolist()):
        images[i, 0, :, 3 * label : 3 * label + 2] = 230
    return images, labels


def trained(seed: int) -> tuple[Classifier, list[float]]:
    images, labels = bars(300)
    with seeded_initialization(seed, "test"):
        model = Classifier((1, 8, 8), 3, channels=(8,), dropout=0.1)
    epochs = fit_classifier(
        model, images[:240], labels[:240], images[240:], labels[240:], generator("cpu", seed, "test"), **SETTINGS
    )
    return model, [epoch.accuracy for epoch in epochs if epoch.split == "validation"]


def test_it_learns_and_repeats_itself() -> None:
    model, accuracy = trained(0)
    assert accuracy[-1] >= 0.95
    again, _ = trained(0)
    other, _ = trained(1)
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert not torch.equal(next(model.parameters()), next(other.parameters()))


def test_averaged_weights_are_the_moving_average_over_batches() -> None:
    images, labels = bars(60)
    with seeded_initialization(0, "test"):
        model = Classifier((1, 8, 8), 3, channels=(8,), dropout=0.1)
    after: list[dict[str, Tensor]] = []

    def remember(count: int) -> None:
        after.append({name: value.clone() for name, value in model.state_dict().items()})

    division = images[:48], labels[:48], images[48:], labels[48:]
    settings = {**SETTINGS, "averaging": 0.75}
    epochs = [*fit_classifier(model, *division, generator("cpu", 0, "test"), remember, **settings)]
    for name in ("1.weight", "2.running_mean"):
        expected = after[0][name]
        for weights in after[1:]:
            expected = 0.75 * expected + 0.25 * weights[name]
        assert torch.allclose(model.state_dict()[name], expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(after[-1][name], expected, rtol=1e-2)
    judged = (predict(model, images[48:], 16).argmax(1) == labels[48:]).float().mean().item()
    assert epochs[-1].accuracy == judged


KINDS = {
    "cnn": {"channels": (4, 6), "dropout": 0.1},
    "mlp": {"hidden": (12, 9), "dropout": 0.1},
    "resnet": {"depth": 8, "width": 4, "dropout": 0.1},
}


@pytest.mark.parametrize("kind", classifier_kinds())
def test_every_kind_of_classifier_learns_the_same_bytes(kind: str, tmp_path: Path) -> None:
    """And is folded for inference, read back, and made an ensemble of."""
    images, labels = bars(120)
    stored = []
    for name in ("one", "two"):
        model = new_classifier(images, 3, (0, "test"), classifier_kinds()[kind], **KINDS[kind])
        before = [value.clone() for value in model.state_dict().values()]
        epochs = fit_classifier(
            model, images, labels, images, labels, generator("cpu", 0, "test"), **{**SETTINGS, "epochs": 1}
        )
        assert all(np.isfinite(epoch.loss) for epoch in epochs)
        assert any(not torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
        save_model(tmp_path / name, model)
        stored.append((tmp_path / name).read_bytes())
    assert stored[0] == stored[1]
    loaded = load_classifier(tmp_path / "one")
    some = unit_interval(images[:10])
    plain = loaded(some)
    folded = for_inference(loaded, torch.device("cpu"))
    torch.testing.assert_close(folded(some), plain, rtol=1e-4, atol=1e-5)
    assert depth_and_width(folded) == {"cnn": (2, 6), "mlp": (2, 12), "resnet": (7, 16)}[kind]
    votes = dropout_ensemble(folded, some, generator("cpu", 0, "votes"), passes=3, rate=0.5)
    assert not torch.equal(votes[:, 0], votes[:, 1])


def test_a_residual_network_has_the_papers_layers_and_weights() -> None:
    """He et al., Table 6: 20 layers, 0.27 million weights; both stems, not square, and what is too small."""
    model = ResNet((3, 32, 32), 10, depth=20, dropout=0.0)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 20
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722
    assert ResNet((3, 64, 80), 5, depth=8, dropout=0.1, stem="large")(torch.zeros(2, 3, 64, 80)).shape == (2, 5)
    block = Block(2, 5, 2, 0.0).eval()
    block.body[1].weight.data.zero_()
    block.body[4].weight.data.zero_()
    values = torch.rand(1, 2, 6, 6)
    expected = torch.zeros(1, 5, 3, 3)
    expected[:, 1:3] = values[:, :, ::2, ::2]
    assert torch.equal(block(values), expected)  # the shortcut alone
    with pytest.raises(PipelineError, match=r"^depth: expected 6n \+ 2, such as 8, 14, 20, 32, found 18"):
        ResNet((3, 32, 32), 10, depth=18, dropout=0.0)
    with pytest.raises(PipelineError, match=r"stem: large: expected images of 16 pixels a side or more, found 32x8"):
        ResNet((3, 32, 8), 10, depth=8, dropout=0.0, stem="large")


def test_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    trained(0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_seeds_depend_on_every_name() -> None:
    assert derive_seed(0, "a", "b") == derive_seed(0, "a", "b")
    assert (
        len({derive_seed(0, "a", "b"), derive_seed(0, "b", "a"), derive_seed(1, "a", "b"), derive_seed(0, "ab")}) == 4
    )


def test_shifts_and_flips_are_shifts_and_flips() -> None:
    images = torch.randint(1, 256, (50, 2, 6, 6), dtype=torch.uint8)
    moved = shift_and_flip(images, torch.Generator().manual_seed(0), 2, True)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    offsets = set()
    for before, after in zip(padded, moved, strict=True):
        matches = [
            (row, column, mirrored)
            for row in range(5)
            for column in range(5)
            for mirrored in (False, True)
            if torch.equal(before[:, row : row + 6, column : column + 6], after.flip(2) if mirrored else after)
        ]
        assert len(matches) == 1
        offsets.add(matches[0])
    assert len(offsets) > 25
    assert torch.equal(shift_and_flip(images, torch.Generator(), 0, False), images)


def test_channel_statistics_equal_the_plain_ones() -> None:
    images = torch.randint(256, (40, 3, 5, 5), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    values = images.double().div(255).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, values.mean(1).float())
    torch.testing.assert_close(std, values.std(1, correction=0).float())


def test_images_reach_the_model_in_the_unit_interval() -> None:
    model = Classifier((1, 8, 8), 3, channels=(4,), dropout=0.0).eval()
    images, _ = bars(10)
    assert float(to_unit_interval(images, model).max()) == pytest.approx(230 / 255)
    as_floats = images.float() / 255
    torch.testing.assert_close(predict(model, images, 3), predict(model, as_floats, 10))


def test_too_many_poolings_are_refused() -> None:
    with pytest.raises(PipelineError, match="4 poolings leave nothing of a 8x8 image"):
        Classifier((1, 8, 8), 3, channels=(4, 4, 4, 4), dropout=0.0)


def test_whether_a_network_can_be_built_is_asked_without_random_numbers() -> None:
    state = torch.get_rng_state()
    check_buildable(Classifier, (1, 8, 8), 3, {"channels": (4,), "dropout": 0.0}, "a.b")
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(PipelineError, match=r"^a\.b\.channels: 4 poolings leave nothing of a 8x8 image"):
        check_buildable(Classifier, (1, 8, 8), 3, {"channels": (4, 4, 4, 4), "dropout": 0.0}, "a.b")


@pytest.mark.parametrize("trades", [0.0, 1.0])
def test_adversarial_training_learns_the_attacked_classifiers_network(tmp_path: Path, trades: float) -> None:
    study = Study(tmp_path)
    adversary = adversarial_training.AdversarySettings(
        norm="linf", epsilon=0.1, steps=2, relative_step_size=0.6, warmup=0.5, trades=trades
    )
    block = {"adversary": adversary, "training": ClassifierTraining(**TRAINING)}
    learned, again = (adversarial_training.learn(study.materials(key), **block) for key in ("a", "a"))
    model = learned.models[""]
    assert {**model.architecture, "dropout": 0.1} == study.materials("a").classifier.architecture
    assert model.architecture["dropout"] == 0
    assert [row.split for row in learned.curves] == ["train", "validation"] * 4
    assert learned.curves[-1].accuracy > 0.9
    for one, other in zip(model.parameters(), again.models[""].parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_trades_the_adversary_looks_at_no_clean_scores() -> None:
    """A pass per step and no more."""
    passes = []

    class Counting(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            passes.append(len(images))
            return super().forward(images)

    model = Counting((1, 8, 8), 3, channels=(4,), dropout=0.0)
    images, labels = bars(6)
    for trades, expected in ((0.0, 3), (1.0, 4)):
        passes.clear()
        adversary = adversarial_training.Adversary(
            torch.Generator(), norm="l2", epsilon=0.5, steps=3, relative_step_size=0.5, warmup=0.0, trades=trades
        )
        adversary.attack(model, images.float() / 255, labels, 0.5)
        assert len(passes) == expected


@pytest.mark.parametrize(
    ("precision", "trades"), [("float32", 6.0), pytest.param("bfloat16", 0.0, marks=needs_bfloat16)]
)
def test_a_training_on_adversarial_images_is_the_same_with_workers(
    precision: Precision, trades: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches have parts, which are attacked by whoever is there; the last one has a part alone."""
    part = adversarial_training.PART
    images, labels = bars(3 * part + 5)
    division = Division(images, labels, images[:20], labels[:20])
    training = {**SETTINGS, "epochs": 2, "batch_size": 2 * part, "averaging": 0.9, "precision": precision}
    found = []
    for number in ("", "2"):
        monkeypatch.setenv("WORKERS", number)
        adversary = adversarial_training.Adversary(
            torch.Generator(), norm="linf", epsilon=0.1, steps=3, relative_step_size=0.5, warmup=0.5, trades=trades
        )
        model = new_classifier(images, 3, (0, "toy"), channels=(8,), dropout=0.0)
        epochs = list(fit_classifier(model, *division, torch.Generator(), objective=adversary, **training))
        found.append((epochs, [values.numpy().tobytes() for values in model.state_dict().values()]))
    assert mapper.workers_alive() == "2 of 2 workers"
    mapper.close()
    assert found[0] == found[1]
