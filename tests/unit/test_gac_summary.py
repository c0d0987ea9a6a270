"""What is said of a Generative Adversarial Classifier: gains over its controls, the choice of lambda, curves."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from pipeline.attacks.shared.comparison import needed_against
from pipeline.defenses.gac import mean_curves
from pipeline.defenses.shared.gac_lambda import choose_lambda
from pipeline.errors import PipelineError
from pipeline.metrics.gac_summary import gains_on, summarize_gac
from pipeline.metrics.gains import MEAN, Accuracy, GacTrial, compare_accuracy, find_changes
from pipeline.training.gac import CONTROL, GAC, NOISE, GacEpoch
from tests.linear import Linear
from tests.seeds import seeded


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
