"""Verdicts on both sides of their thresholds, and numbers as they are written."""

import numpy as np
import pytest

from pipeline.reporting.adaptive import median_needed, one_table, standing
from pipeline.reporting.detection import contest
from pipeline.reporting.formats import in_words, length_of, number, percent, points, rate, unbroken
from pipeline.reporting.heatmaps import extremes, pairs
from pipeline.reporting.paper_numbers import reported
from pipeline.reporting.perturbation_figures import averaged_targets
from pipeline.reporting.predicates import better, gains, looks_cut, loses, same_effort, size_against, stands, verdict
from pipeline.reporting.style import new_figure
from tests.made_study import made_metrics


def interval(low: float, high: float) -> dict[str, float]:
    return {"value": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(("one", "is_better"), [(0.51, True), (0.5, False), (0.49, False)])
def test_better_wants_the_intervals_apart(one: float, is_better: bool) -> None:
    assert better(interval(one, 0.9), interval(0.1, 0.5)) is is_better


@pytest.mark.parametrize(
    ("low", "high", "gain", "loss"),
    [(0.001, 0.1, True, False), (0.0, 0.1, False, False), (-0.1, 0.0, False, False), (-0.1, -0.001, False, True)],
)
def test_a_difference_that_touches_zero_is_neither_gain_nor_loss(
    low: float, high: float, gain: bool, loss: bool
) -> None:
    assert gains(interval(low, high)) is gain
    assert loses(interval(low, high)) is loss


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.009, "less than"), (0.01, "within"), (0.03, "within"), (0.031, "more than")],
)
def test_a_gain_against_a_claimed_range(value: float, words: str) -> None:
    assert size_against({"value": value}, (0.01, 0.03)) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "holds"), (0.009, 0.03, "partly"), (0.02, 1.2, "partly"), (-0.01, 0.0101, "not shown"),
        (-0.01, 0.01, "not shown"), (-0.01, 0.0099, "fails"), (1.01, 1.2, "fails"),
    ],
)  # fmt: skip
def test_a_claim_holds_partly_is_not_shown_or_fails(low: float, high: float, words: str) -> None:
    assert verdict(interval(low, high), (0.01, 1.0)) == words


@pytest.mark.parametrize(
    ("difference", "words"), [((0.001, 0.1), "better"), ((0.0, 0.1), "not shown"), ((-0.1, -0.001), "worse")]
)
def test_the_difference_on_the_same_images_decides(difference: tuple[float, float], words: str) -> None:
    assert stands(interval(*difference)) == words


def test_effort_is_the_same_whatever_the_draws() -> None:
    one = {"settings": {"ascent": {"steps": 20, "draws": 1}, "scored_draws": 1}}
    other = {"settings": {"ascent": {"steps": 20, "draws": 5}, "scored_draws": 100}}
    assert same_effort(one, other)
    other["settings"]["ascent"]["steps"] = 10
    assert not same_effort(one, other)


def test_a_whole_number_looks_cut() -> None:
    assert looks_cut(2.00)
    assert not looks_cut(1.94)


def test_standing_is_above_below_or_not_shown() -> None:
    metrics = made_metrics({name: [name] for name in ("high", "low", "near")})
    for name, value, p in (("high", 0.1, 0.049), ("low", -0.1, 0.049), ("near", 0.1, 0.05)):
        metrics["adaptive"][name]["over_undefended"] = {"value": value, "p": p}
    found = standing(metrics)
    assert {where: [name for name, _ in of] for where, of in found.items()} == {
        "above": ["the high"],
        "below": ["the low"],
        "not shown": ["the near"],
    }


def test_the_norm_needed_is_told_of_all_and_of_the_right_originals() -> None:
    metrics = made_metrics()
    entry = metrics["adaptive"]["undefended"]
    assert "0.5 [0.4, ∞]; 0.6 [0.5, ∞]" in one_table(metrics)[0]
    assert median_needed(entry)["value"] == 0.6
    entry["l2_median_right"] = None  # it gets none right
    assert "0.5 [0.4, ∞]" in one_table(metrics)[0]
    assert median_needed(entry)["value"] == 0.5
    assert median_needed(entry)["over"] == "all originals, a wrong one needing 0"


def test_the_best_score_of_each_ensemble_stands_against_the_best_of_one_pass() -> None:
    metrics = made_metrics({"dropout_ensemble": ["dropout_ensemble"], "mine": ["mine"]})
    found = contest(metrics, "minimal")
    assert found["held_out"]
    assert [(entry["label"], entry["stands"]) for entry in found["many"]] == [("the dropout_ensemble", "not shown")]
    ours = metrics["chosen_detection"]["dropout_ensemble"]["minimal"]["clean_all"]
    for low, high, where in ((0.0, 0.2, "not shown"), (0.001, 0.2, "above"), (-0.2, -0.001, "below")):
        ours |= {"gain_low": low, "gain_high": high}
        assert contest(metrics, "minimal")["many"][0]["stands"] == where


def test_the_pairs_of_the_largest_and_smallest_values() -> None:
    values = np.arange(900, dtype=float).reshape(30, 30)
    values[np.arange(30), np.arange(30)] = np.nan
    found = extremes(values)
    assert len(found) == 20
    assert found[0] == (29, 28)
    assert found[-1] == (0, 1)
    assert all(a != b for a, b in found)
    few = np.array([[np.nan, 1.0], [2.0, np.nan]])
    assert extremes(few) == [(1, 0), (0, 1)]


@pytest.mark.parametrize(("classes", "targets"), [(2, (1,)), (3, (1, 2)), (9, (1, 8)), (10, (5, 9)), (100, (5, 9))])
def test_figure_3_has_the_papers_targets_where_there_are_any(classes: int, targets: tuple[int, ...]) -> None:
    assert averaged_targets(classes) == targets


def test_what_the_paper_reports_goes_by_the_source_of_the_images() -> None:
    metrics = made_metrics()
    assert reported(metrics).table_1 == {}
    metrics["run"] |= {"study": "my study", "dataset": "mnist"}
    assert reported(metrics).table_1["minimal"]["l2"]["mean"] == 1.35
    assert reported({"run": {"dataset": "cifar10"}}).autoencoder_clean == (0.6, 0.7)


def test_numbers_as_they_are_written() -> None:
    assert percent(0.1234) == "12.3 %"
    assert rate(interval(0.1, 0.2)) == "15.0 % [10.0, 20.0]"
    assert points(interval(-0.0001, 0.0001)) == "+0.0 points [+0.0, +0.0]"
    assert points(interval(0.00004, 0.001)) == "+0.052 points [+0.004, +0.100]"  # it leaves zero out, and looks so
    assert points(interval(-0.005, -0.0002)) == "-0.26 points [-0.50, -0.02]"
    assert length_of({"value": 0.5, "low": 0.25, "high": None}) == "0.5 [0.25, ∞]"
    assert [number(value) for value in (0.0, 0.00012, 1.2345)] == ["0", "1.20e-04", "1.23"]
    assert in_words({"a": {"b": 1, "c": [2]}, "d": 3}) == "a: b = 1; c = [2]; d = 3"
    assert unbroken("15.0 % [10.0, 20.0], more") == "15.0\N{NO-BREAK SPACE}% [10.0,\N{NO-BREAK SPACE}20.0], more"


@pytest.mark.parametrize("classes", [20, 21])
def test_of_more_than_20_classes_the_largest_and_the_smallest_pairs_are_drawn(classes: int) -> None:
    values = np.random.default_rng(0).random((classes, classes))
    values[np.arange(classes), np.arange(classes)] = np.nan
    values[3, 5] = np.nan  # a pair without images
    axes = new_figure(4, 4)[1][0, 0]
    pairs(axes, values, [f"class {number}" for number in range(classes)], "share")
    bars = [bar.get_width() for bar in axes.patches]
    if classes == 20:
        assert len(axes.images) == 1
        assert not bars
        return
    order = np.sort(values[np.isfinite(values)])[::-1]
    assert bars == [*order[:10], *order[-10:]]
    assert axes.get_title() == "share:\nlargest and smallest of 419 pairs"
    label, target = np.unravel_index(np.nanargmax(values), values.shape)
    assert axes.get_yticklabels()[0].get_text() == f"class {label} → class {target}"
