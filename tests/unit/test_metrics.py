"""Norms, running statistics, structure and intervals, against NumPy and hand-made cases."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.metrics import perturbations
from pipeline.metrics.accumulators import GroupMeanImages, GroupMoments, PixelHistogram
from pipeline.metrics.budgets import success_curve, within_norms
from pipeline.metrics.calibration import (
    PAPER_RATIO,
    ExtraStepsTrial,
    StepSizeTrial,
    choose_extra_steps,
    choose_step_size,
)
from pipeline.metrics.choices import Choice
from pipeline.metrics.noise import add_noise_of_norm
from pipeline.metrics.norms import example_statistics
from pipeline.metrics.perturbations import Block, PerturbationMeasurement
from pipeline.metrics.splits import validation_mask
from pipeline.metrics.structure import class_correlation, radial_profile, row_correlation
from pipeline.metrics.summary import _mean, l2_ratio
from pipeline.metrics.transfer import Size, Transfer, measure_transfer, summarize_sizes
from pipeline.reporting.paper_numbers import REPORTED
from pipeline.stages.learned import ELIGIBLE


def test_norms_of_a_known_perturbation() -> None:
    image = np.zeros((1, 1, 2, 2), np.float32)
    image[0, 0] = [[3, 0], [0, -4]]
    found = {name: float(values[0]) for name, values in example_statistics(image).items()}
    assert found == {
        "pixel_mean": -0.25, "pixel_std": pytest.approx(np.std([3, 0, 0, -4])), "pixel_min": -4, "pixel_max": 3,
        "l0": 2, "l1": 7, "l2": 5, "linf": 4,
    }  # fmt: skip


def test_running_moments_equal_numpys() -> None:
    random = np.random.default_rng(0)
    values, group = random.normal(size=(500, 3, 4)).astype(np.float32), random.integers(0, 4, 500)
    moments = GroupMoments(5)
    for start in range(0, 500, 70):
        moments.add(values[start : start + 70], group[start : start + 70])
    summary = moments.summary()
    for number in range(4):
        part = values[group == number].astype(np.float64)
        expected = [part.mean(), part.std(), part.min(), part.max()]
        np.testing.assert_allclose([summary[name][number] for name in ("mean", "std", "min", "max")], expected)
    assert all(np.isnan(values[4]) for values in summary.values())


def test_mean_images_and_histogram_equal_numpys() -> None:
    random = np.random.default_rng(1)
    images, group = random.uniform(-1, 1, (90, 1, 3, 3)).astype(np.float32), random.integers(0, 3, 90)
    means, histogram = GroupMeanImages(3, (1, 3, 3)), PixelHistogram(20)
    for start in range(0, 90, 40):
        means.add(images[start : start + 40], group[start : start + 40])
        histogram.add(images[start : start + 40])
    for number in range(3):
        np.testing.assert_allclose(means.mean()[number], images[group == number].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(histogram.counts, np.histogram(images, histogram.edges)[0])


def measured(rows: int = 400, classes: int = 5, fooled: float = 0.9) -> PerturbationMeasurement:
    """Of random images, in two blocks."""
    random = np.random.default_rng(4)
    found = PerturbationMeasurement(classes, (1, 4, 3))
    for _ in range(2):
        images, originals = random.uniform(size=(2, rows // 2, 1, 4, 3)).astype(np.float32)
        labels = random.integers(0, classes, rows // 2).astype(np.uint8)
        targets = ((labels + random.integers(1, classes, rows // 2)) % classes).astype(np.uint8)
        hit, first = random.uniform(size=rows // 2) < fooled, np.ones(rows // 2, bool)
        logits = [random.normal(size=(rows // 2, classes)).astype(np.float32) for _ in range(3)]
        found.add(Block(images, originals, labels, targets, hit, first, *logits[:2], images, logits[2]))
    return found


def test_of_many_classes_the_pairs_of_the_first_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bounded memory; whatever else is measured is of all pairs."""
    whole = measured()
    monkeypatch.setattr(perturbations, "LEAST", 3)
    monkeypatch.setattr(perturbations, "MEMORY", 1)
    few = measured()
    pd.testing.assert_frame_equal(few.profile(), whole.profile())
    known = [name for name in whole.pairs() if name != "class_correlation"]
    pd.testing.assert_frame_equal(few.pairs()[known], whole.pairs()[known])
    correlations = few.pairs().query("label < 3 and target_label < 3")["class_correlation"]
    assert correlations.tolist() == whole.pairs()["class_correlation"][correlations.index].tolist()
    assert few.pairs()["class_correlation"].count() == 6
    for name, images in few.mean_images().items():
        expected = whole.mean_images()[name]
        np.testing.assert_array_equal(images, expected if name == "originals" else expected[:3, :3])
    monkeypatch.undo()
    large = PerturbationMeasurement(256, (3, 224, 224))
    assert large.averaged == 21
    assert 3 * large.mean_size.total.nbytes < 1.7e9


def test_a_set_without_any_adversarial_image_is_measured() -> None:
    found = measured(fooled=0)
    assert (found.pairs()["success_rate"] == 0).all()
    assert found.pairs()["l2_mean"].isna().all()
    assert found.pixels()["count"].sum() == 0


def test_class_correlation_of_the_difference_itself_is_one() -> None:
    originals = np.random.default_rng(2).uniform(size=(3, 1, 4, 4)).astype(np.float32)
    perturbations = 0.1 * (originals[None] - originals[:, None]) + 0.5
    perturbations[0, 1] *= -1
    found = class_correlation(perturbations.astype(np.float32), originals)
    assert np.isnan(np.diag(found)).all()
    np.testing.assert_allclose(found[0, 1], -1, atol=1e-5)
    np.testing.assert_allclose(found[1, 0], 1, atol=1e-5)


def test_row_correlation_equals_numpys() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 5, 30))
    np.testing.assert_allclose(row_correlation(a, b), [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


def test_radial_profile_of_a_hill_falls() -> None:
    rows, columns = np.mgrid[:9, :9]
    hill = np.exp(-((rows - 4) ** 2 + (columns - 4) ** 2) / 8)[None].astype(np.float32)
    radius, value = radial_profile(hill)
    assert radius.tolist() == [0, 1, 2, 3, 4, 5]
    assert value[0] == pytest.approx(1)
    assert (np.diff(value) < 0).all()


def test_noise_has_the_norm_asked_for_and_stays_in_the_box(generator: torch.Generator) -> None:
    images = torch.rand(30, 1, 8, 8, generator=generator).mul_(1.5).clamp_(0, 1)  # a third saturated
    norms = torch.linspace(0, 2, 30)
    noisy = add_noise_of_norm(images, norms, generator)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    torch.testing.assert_close((noisy - images).flatten(1).norm(dim=1), norms, rtol=0.01, atol=1e-6)


def test_validation_images_are_a_tenth_of_each_class_and_always_the_same() -> None:
    labels = np.random.default_rng(5).integers(0, 3, 1000).astype(np.uint8)
    mask = validation_mask(labels, 0, "digits")
    for label in range(3):
        assert mask[labels == label].sum() == round((labels == label).sum() / 10)
    assert np.array_equal(mask, validation_mask(labels, 0, "digits"))
    assert not np.array_equal(mask, validation_mask(labels, 1, "digits"))


def test_choices_follow_their_rules() -> None:
    lengths = {0.16: 2.0, 0.08: 1.3, 0.04: 1.04, 0.02: 1.01, 0.01: 1.0}
    trials = [StepSizeTrial(size, 1.0, 3.0, l2_mean) for size, l2_mean in lengths.items()]
    assert choose_step_size(trials).value == 0.04
    assert choose_step_size(trials[:3]).value is None  # whose quarter was tried are too long
    of_the_paper = REPORTED["cifar10"].table_1
    assert of_the_paper["extended"]["l2"]["mean"] / of_the_paper["minimal"]["l2"]["mean"] == PAPER_RATIO
    ratios = {3: PAPER_RATIO - 0.1, 4: PAPER_RATIO + 0.05, 5: PAPER_RATIO + 0.2}
    assert choose_extra_steps([ExtraStepsTrial(steps, 1.0, ratio) for steps, ratio in ratios.items()]).value == 4
    assert choose_extra_steps([ExtraStepsTrial(1, math.nan, math.nan)]).value is None  # no image was fooled
    even = [ExtraStepsTrial(steps, 1.0, PAPER_RATIO + 0.1) for steps in (7, 5, 6)]
    assert choose_extra_steps(even).value == 5  # the simplest of equally good ones


def test_success_curve_counts_images_and_draws_intervals_over_originals() -> None:
    fooled = {0.2: np.array([True, True, True, False]), 0.1: np.array([True, False, False, False])}
    curve = success_curve(fooled, np.array([0, 0, 1, 1]), "linf")
    assert curve["budget"].tolist() == [0.1, 0.2]
    assert curve["attack_success_rate"].tolist() == [0.25, 0.75]
    assert (curve["low"] <= curve["attack_success_rate"]).all()
    assert (curve["high"] >= curve["attack_success_rate"]).all()
    assert set(curve["images"]) == {4}
    assert set(curve["norm"]) == {"linf"}


def test_without_a_budget_the_curve_is_read_off_the_norms() -> None:
    norms = np.array([1.0, 2.0, 0.1, 3.0])
    within = within_norms(norms, np.array([True, True, False, True]))
    assert min(within) == 1
    assert max(within) == 3
    assert within[1.0].tolist() == [True, False, False, False]  # the short one fooled nobody
    assert within[3.0].tolist() == [True, True, False, True]
    assert within_norms(norms, np.zeros(4, bool)).popitem()[1].sum() == 0


def test_norms_are_compared_on_the_same_original_and_target() -> None:
    def examples(rows: list[tuple[int, int, int, float, bool]]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["source_split", "source_index", "target_label", "l2", "is_adversarial"])

    one = examples([(1, 7, 2, 3.0, True), (1, 7, 3, 9.0, False), (1, 8, 2, 1.0, True), (1, 9, 1, 5.0, True)])
    other = examples([(0, 7, 2, 1.0, True), (1, 7, 2, 2.0, True), (1, 7, 3, 1.0, True), (1, 8, 2, 4.0, True)])
    assert l2_ratio(one, other) == {
        "images": 2, "low_quartile": 0.5625, "median": 0.875, "high_quartile": 1.1875
    }  # of 1.5 and 0.25  # fmt: skip


def test_transfer_tells_the_target_from_any_error() -> None:
    transfer = measure_transfer(
        "minimal",
        "small",
        "large",
        np.array([3, 1, 0, 0]),
        np.array([0, 0, 0, 0]),
        np.array([3, 2, 3, 2]),
        np.arange(4),
    )
    assert (transfer.target, transfer.error, transfer.images) == (0.25, 0.5, 4)
    assert transfer.target_low <= 0.25 <= transfer.target_high


def test_summary_of_sizes_nests_by_model_and_pair() -> None:
    sizes = pd.DataFrame([asdict(Size(name, 2, 8, 100, 1, 0.9)) for name in ("a", "b")])
    rows = [
        ("a", "minimal", 1.0, 3, 2.0, True),
        ("a", "minimal", 3.0, 5, 4.0, True),
        ("b", "minimal", 2.0, 1, 1.0, True),
        ("b", "minimal", 9.0, 9, 9.0, False),
        ("a", "extended", 8.0, 8, 8.0, True),
    ]
    examples = pd.DataFrame(rows, columns=["model", "attack", "l2", "steps", "sensitivity", "is_adversarial"])
    transfer = pd.DataFrame([asdict(Transfer("minimal", "a", "b", 2, 0.5, 0.1, 0.9, 1.0, 0.2, 1.0))])
    summary = summarize_sizes(sizes, examples, transfer)
    assert summary["models"]["a"]["l2_median"] == 2
    assert summary["models"]["a"]["success_rate"] == 1
    assert summary["models"]["b"]["success_rate"] == 0.5
    assert summary["models"]["b"]["steps_mean"] == 1
    assert summary["transfer"]["minimal"]["a"]["b"]["target"] == {"value": 0.5, "low": 0.1, "high": 0.9}


@pytest.mark.parametrize(
    ("value", "tried", "end"),
    [
        (0.4, (0.1, 0.2, 0.4), "largest"),
        (0.1, (0.4, 0.1, 0.2), "smallest"),
        (0.2, (0.1, 0.2, 0.4), None),
        (0.2, (0.2, 0.2), None),
        (None, (0.1, 0.2), None),
    ],
)
def test_a_choice_at_an_end_of_what_was_tried_says_so(value: float | None, tried: Sequence[float], end: str) -> None:
    rows = [{"rate": rate, "recovered": 0.5} for rate in tried] + [{"rate": "auto"}]
    assert Choice(value, "the most", rows).end("rate") == end


@pytest.mark.parametrize(
    ("parameter", "tried", "value", "end"),
    [
        ("dropout", (0, 0.1, 0.2), 0.1, "smallest"),  # the rule takes none at all for no dropout
        ("dropout", (0, 0.1, 0.2), 0.2, "largest"),
        ("step_size", (0.4, 0.2, 0.1, 0.05, 0.025), 0.1, "smallest"),  # of smaller ones no quarter was tried
        ("step_size", (0.4, 0.2, 0.1, 0.05, 0.025), 0.2, None),
    ],
)
def test_an_end_is_one_of_what_the_rule_may_take(
    parameter: str, tried: Sequence[float], value: float, end: str | None
) -> None:
    choice = Choice(value, "the largest", [{parameter: number} for number in tried])
    assert choice.end(parameter, ELIGIBLE[parameter]) == end


def test_a_set_of_one_class_has_no_structure_of_pairs() -> None:
    """Images made elsewhere may all be of one class: their mean images differ from none."""
    pairs = pd.DataFrame({"class_correlation": [np.nan, np.nan]})
    assert _mean(pairs["class_correlation"]) is None
    assert _mean(pd.Series([0.5, np.nan])) == 0.5
