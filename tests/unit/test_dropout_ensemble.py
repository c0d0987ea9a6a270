"""The dropout ensemble: hand computations, what is left as it was, and how its rate is chosen."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from pipeline.defenses import dropout_ensemble as defense
from pipeline.defenses.dropout_ensemble import (
    NOISE,
    DefenseTrial,
    choose_rate,
    choose_sigma,
    dropout_ensemble,
    split_at_first_dropout,
)
from pipeline.defenses.gaussian_noise_ensemble import gaussian_noise_ensemble
from pipeline.defenses.protocol import Learned
from pipeline.defenses.undefended import undefended
from pipeline.errors import PipelineError
from pipeline.metrics.votes import summarize_passes
from pipeline.models.cnn import Classifier
from pipeline.models.dropout import Dropout, sampling, scaled_mask
from tests.networks import normalized
from tests.seeds import seeded
from tests.study import Study


@pytest.fixture
def network() -> Classifier:
    return normalized()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rate_zero_is_the_undefended_prediction(network: Classifier, dtype: torch.dtype) -> None:
    network.to(dtype)
    images = torch.rand(200, 1, 8, 8, dtype=dtype, generator=seeded())
    plain = undefended(network, images, seeded())
    logits = dropout_ensemble(network, images, seeded(), passes=3, rate=0.0)
    assert logits.shape == (200, 3, 10)
    top = plain[:, 0].topk(2, dim=1).values
    sure = (top[:, 0] - top[:, 1] > 1e-4) if dtype == torch.float32 else torch.ones(200, dtype=torch.bool)
    assert sure.sum() > 150
    predicted = summarize_passes(logits)["predicted"]
    assert torch.equal(predicted[sure], plain[:, 0].argmax(1)[sure])


def test_one_pass_with_a_known_mask_equals_a_hand_computation() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]])
    head = nn.Linear(4, 2, bias=False)
    head.weight.data.copy_(weight)
    model = nn.Sequential(nn.Flatten(), Dropout(0.1), head)
    images = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.5, 0.25], [0.0, 1.0]]]])
    mask = scaled_mask(torch.empty(2, 4), 0.25, seeded(5))
    assert sorted({round(value, 4) for value in mask.flatten().tolist()}) == [0, 1.3333]
    with torch.no_grad():
        found = dropout_ensemble(model, images, seeded(5), passes=1, rate=0.25)
    torch.testing.assert_close(found[:, 0], (images.flatten(1) * mask) @ weight.T)


def test_masks_are_independent_per_image_and_pass(network: Classifier) -> None:
    same = torch.rand(1, 1, 8, 8, generator=seeded()).expand(6, 1, 8, 8)
    with torch.no_grad():
        logits = dropout_ensemble(network, same, seeded(), passes=4, rate=0.5)
    assert len(torch.unique(logits.reshape(24, 10).round(decimals=5), dim=0)) == 24


def test_what_comes_before_the_first_dropout_runs_once(network: Classifier) -> None:
    runs = {"before": 0, "behind": 0}
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]

    def count(key: str) -> object:
        return lambda *_: runs.__setitem__(key, runs[key] + 1)

    convolutions[0].register_forward_hook(count("before"))
    convolutions[1].register_forward_hook(count("behind"))
    with torch.no_grad():
        dropout_ensemble(network, torch.rand(2, 1, 8, 8), seeded(), passes=7, rate=0.3)
    assert runs == {"before": 1, "behind": 7}


def test_the_mode_does_not_matter_and_is_restored(network: Classifier) -> None:
    """A classifier left in training mode: its batch norm still uses and keeps its running statistics."""
    images = torch.rand(8, 1, 8, 8, generator=seeded())
    with torch.no_grad():
        expected = dropout_ensemble(network, images, seeded(), passes=3, rate=0.4)
        network.train()
        torch.testing.assert_close(dropout_ensemble(network, images, seeded(), passes=3, rate=0.4), expected)
    assert all(module.training for module in network.modules())
    with pytest.raises(RuntimeError, match=r"shape|size|channels|dim"):  # an exception on the way
        dropout_ensemble(network, torch.rand(8, 1, 5, 5), seeded(), passes=3, rate=0.4)
    assert all(module.training for module in network.modules())
    assert all(layer.generator is None for layer in network if isinstance(layer, Dropout))


def test_only_dropout_is_on_and_all_is_restored(network: Classifier) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    rates = [layer.rate for layer in network if isinstance(layer, Dropout)]
    with torch.no_grad():
        dropout_ensemble(network, torch.rand(8, 1, 8, 8), seeded(), passes=3, rate=0.9)
    with pytest.raises(RuntimeError, match="stop"), sampling(network, seeded(), 0.7):
        assert [layer.rate for layer in network if isinstance(layer, Dropout)] == [0.7, 0.7]
        assert not any(module.training for module in network.modules())
        raise RuntimeError("stop")
    assert [module.training for module in network.modules()] == modes
    assert [layer.rate for layer in network if isinstance(layer, Dropout)] == rates
    assert all(layer.generator is None for layer in network if isinstance(layer, Dropout))
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key  # batch norm's running statistics among them


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_dropout_keeps_the_mean_and_the_global_generator(training: bool, rate: float) -> None:
    layer, values = Dropout(rate).train(training), torch.ones(200, 500)
    state = torch.random.get_rng_state()
    with sampling(layer, seeded()):
        dropped = layer(values)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.04)
    assert torch.equal(layer(values), values)


def test_a_rate_that_is_nearly_one_leaves_nothing() -> None:
    values = torch.ones(20, 50)
    with sampling(layer := Dropout(0.999), seeded()):
        assert not layer(values).any()


def test_masks_are_independent_bits_in_any_memory_format() -> None:
    values = torch.empty(64, 8, 6, 5).contiguous(memory_format=torch.channels_last)
    mask = scaled_mask(values, 0.5, seeded())
    assert mask.shape == values.shape
    assert mask.stride() == values.stride()
    bits = (mask != 0).double().flatten(1)
    correlation = torch.corrcoef(bits.T)[~torch.eye(240, dtype=torch.bool)]
    assert float(correlation.abs().max()) < 0.6  # 64 samples each: 0.125 is one standard deviation
    assert abs(float(correlation.mean())) < 0.01


def test_a_model_without_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match="no dropout layer"):
        split_at_first_dropout(nn.Sequential(nn.Flatten()))


def test_gaussian_noise_of_zero_is_undefended(network: Classifier) -> None:
    images = torch.rand(5, 1, 8, 8, generator=seeded())
    with torch.no_grad():
        found = gaussian_noise_ensemble(network, images, seeded(), passes=2, sigma=0.0)
        torch.testing.assert_close(found, undefended(network, images, seeded()).expand(5, 2, 10))
        noisy = gaussian_noise_ensemble(network, images, seeded(), passes=2, sigma=0.5)
    assert not torch.allclose(noisy[:, 0], noisy[:, 1])


def trials(lost: dict[float, int], originals: int, name: str = "dropout_ensemble") -> list[DefenseTrial]:
    return [
        DefenseTrial(name, strength, originals, 9 * originals, 1 - count / originals, 0.5, 0.5)
        for strength, count in lost.items()
    ]


@pytest.mark.parametrize(
    ("lost", "originals", "chosen", "narrow"),
    [
        ({0.1: 0, 0.2: 5, 0.3: 20}, 1000, 0.2, False),
        ({0.1: 0, 0.2: 9, 0.3: 20}, 1000, 0.2, True),  # two more would be too many
        ({0.1: 0, 0.2: 5, 0.3: 12}, 1000, 0.2, True),
        ({0.3: 0, 0.1: 0, 0.2: 0}, 1000, 0.3, False),  # in any order; equal outcomes are no tie
        ({0.1: 30, 0.2: 2}, 1000, 0.2, False),
        ({0.1: 1, 0.2: 1, 0.3: 2}, 93, 0.2, True),  # one of 93 may be lost
        ({0.1: 20, 0.2: 30}, 1000, None, False),
        ({0.1: 12}, 1000, None, True),
    ],
)
def test_the_largest_rate_that_loses_little(
    lost: dict[float, int], originals: int, chosen: float | None, narrow: bool
) -> None:
    choice = choose_rate(trials(lost, originals))
    assert (choice.value, choice.narrow) == (chosen, narrow)
    assert {row["rate"]: row["lost"] for row in choice.tried} == lost


@pytest.mark.parametrize(
    ("lost", "chosen", "narrow"),
    [
        ({0.1: 0, 0.2: 5, 0.3: 50}, 0.2, False),
        ({0.1: 0, 0.2: 3, 0.3: 7}, 0.2, True),  # a tie: the smaller
        ({0.3: 7, 0.2: 3}, 0.2, True),
        ({0.1: 5, 0.2: 5}, 0.1, True),
        ({0.1: 0}, 0.1, False),
    ],
)
def test_the_noise_of_the_rates_clean_accuracy(lost: dict[float, int], chosen: float, narrow: bool) -> None:
    rates = trials({0.1: 0, 0.2: 5, 0.3: 60}, 1000)
    choice = choose_sigma(rates, trials(lost, 1000, NOISE))
    assert (choice.value, choice.narrow) == (chosen, narrow)
    assert choose_sigma(rates[2:], trials(lost, 1000, NOISE)).value is None


def test_trials_are_on_all_targets_of_validation_originals(tmp_path: Path) -> None:
    materials = Study(tmp_path).materials("dropout_ensemble")
    learned = defense.learn(materials, passes=3, rate=(0.5, 0.0), sigma=(0.1,))
    assert learned.models == {}
    assert [(row.defense, row.strength) for row in learned.trials] == [
        ("dropout_ensemble", 0), ("dropout_ensemble", 0.5), (NOISE, 0.1)
    ]  # fmt: skip
    assert set(learned.choices) == {"rate", f"{NOISE}.sigma"}
    rows = materials.rows("minimal", materials.held_out)
    plain = learned.trials[0]
    assert (plain.originals, plain.images) == (len(rows.originals), len(rows.labels))
    assert plain.originals < plain.images
    with torch.inference_mode():
        predicted = materials.classifier(rows.images).argmax(1)
    right = (predicted == rows.labels).double()
    each = [right[rows.original_row == number].mean().item() for number in range(len(rows.originals))]
    assert plain.recovered == pytest.approx(np.mean(each))
    assert set(defense.learn(materials, passes=3, rate=(0.5,)).choices) == {"rate"}


def test_without_images_of_validation_originals_it_says_so(tmp_path: Path) -> None:
    study = Study(tmp_path)
    with h5py.File(study.sets["minimal"], "r+") as file:
        file["is_adversarial"][:] = False
    with pytest.raises(
        PipelineError, match=r"^toy\.learn: expected minimal images of validation originals, found none"
    ):
        defense.learn(study.materials("toy"), passes=3, rate=(0.5,))


def test_traces_follow_passes_and_further_steps(tmp_path: Path) -> None:
    materials = Study(tmp_path).materials("dropout_ensemble")
    examined = defense.examine(materials, Learned(), rate=0.3, originals=20, passes=(1, 4), extra_steps=(5, 2))
    rows = examined.tables["trace"]
    assert [(row.extra_steps, row.passes, row.originals) for row in rows] == [
        (0, 1, 20), (0, 4, 20), (2, 4, 20), (5, 4, 20)
    ]  # fmt: skip
    for row in rows:
        assert row.thwarted_low <= row.thwarted <= row.thwarted_high
        assert row.recovered <= row.thwarted
    assert rows[-1].thwarted <= rows[1].thwarted


def test_without_images_to_trace_it_says_so(tmp_path: Path) -> None:
    study = Study(tmp_path)
    with h5py.File(study.sets["minimal"], "r+") as file:
        file["is_adversarial"][:] = False
    with pytest.raises(PipelineError, match="toy: expected minimal adversarial images of the test split, found none"):
        defense.examine(study.materials("toy"), Learned(), rate=0.3, originals=20, passes=(1,), extra_steps=(1,))
