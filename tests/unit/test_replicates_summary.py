"""What is said of further trainings of the classifier: means, the contrast taken anew, words."""

import pandas as pd
import pytest
from scipy import stats

from pipeline.metrics.replicates import spread, summarize_replicates
from pipeline.reporting.adaptive import one_table
from pipeline.reporting.outcomes import outcome_table
from pipeline.reporting.predicates import among
from pipeline.reporting.replicates import comparable, replicates_section, shares
from pipeline.reporting.section import draw
from tests.made_study import made_metrics, rate

PRIMARY = {"dropout_ensemble": {"over": "gaussian_noise_ensemble", "attack": "minimal", "outcome": "recovered"}}
SOURCES = {"train": 60, "test": 20}


def tables(values: dict[str, list[float]], originals: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By defense the share of its minimal images that is recovered in each replicate; each thwarts all."""
    rows, examples = [], []
    for defense, shares_ in values.items():
        for number, share in enumerate(shares_):
            for attack in ("clean_all", "clean", "minimal"):
                for row in range(originals):
                    right = row < round(share * originals) if attack == "minimal" else True
                    thwarted = True if attack == "minimal" else pd.NA
                    rows.append((number, defense, attack, row, right, thwarted))
    for number in range(len(next(iter(values.values())))):
        examples += [(number, "minimal", True, 5, 1.0, 2.0 + number, 0.1), (number, "minimal", False, 9, 9.0, 9.0, 9.0)]
    return (
        pd.DataFrame(rows, columns=["replicate", "defense", "attack", "row", "recovered", "thwarted"]),
        pd.DataFrame(examples, columns=["replicate", "attack", "is_adversarial", "steps", "l1", "l2", "linf"]),
    )


def test_figures_are_means_over_replicates_with_students_interval() -> None:
    judged, examples = tables({"dropout_ensemble": [0.5, 0.6, 0.4], "gaussian_noise_ensemble": [0.6, 0.75, 0.5]})
    found = summarize_replicates(judged, examples, PRIMARY, SOURCES)
    assert (found["count"], found["originals"]) == (3, 20)
    recovered = found["defenses"]["dropout_ensemble"]["minimal"]["recovered"]
    assert recovered["each"] == pytest.approx([0.5, 0.6, 0.4])
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem([0.5, 0.6, 0.4]))
    assert (recovered["value"], recovered["low"], recovered["high"]) == pytest.approx((0.5, low, high))
    thwarted = found["defenses"]["dropout_ensemble"]["minimal"]["thwarted"]
    assert (thwarted["value"], thwarted["low"], thwarted["high"]) == (1, 1, 1)
    assert found["attacks"]["minimal"]["success_rate"]["value"] == 0.5
    assert found["attacks"]["minimal"]["l2_mean"]["each"] == [2, 3, 4]  # of those that fool
    assert spread([0.01, 0.2], share=True)["low"] == 0


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [
        ([0.6, 0.7, 0.5], "loss"),
        ([0.6, 0.75, 0.3], "not shown"),
        ([0.4, 0.5, 0.3], "gain"),
        ([0.5, 0.6, 0.45], "not shown"),
    ],
)
def test_the_declared_contrast_is_taken_anew_over_trainings(noise: list[float], verdict: str) -> None:
    judged, examples = tables({"dropout_ensemble": [0.5, 0.6, 0.45], "gaussian_noise_ensemble": noise})
    contrast = summarize_replicates(judged, examples, PRIMARY, SOURCES)["contrasts"]["dropout_ensemble"]
    assert contrast["verdict"] == verdict
    assert (contrast["low"] > 0 or contrast["high"] < 0) is (verdict != "not shown")
    assert (contrast["p"] < 0.05) is (verdict != "not shown")
    alone = judged[judged["defense"] == "dropout_ensemble"]
    assert summarize_replicates(alone, examples, PRIMARY, SOURCES)["contrasts"] == {}


# --- words -------------------------------------------------------------------------------------------------------
def with_replicates(own: float = 0.4) -> dict:
    metrics = made_metrics({"dropout_ensemble": ["dropout_ensemble", "gaussian_noise_ensemble"]})
    again = {**rate(0.5), "each": [0.4, 0.5, 0.6]}
    judged = {
        "test_accuracy": again,
        "clean_accuracy": again,
        "minimal": {"thwarted": again, "recovered": again},
    }
    metrics["replicates"] = {
        "count": 3,
        "sources": SOURCES,
        "originals": 20,
        "attacks": {"minimal": dict.fromkeys(("l1_mean", "l2_mean", "linf_mean", "steps_mean"), again)},
        "defenses": {"undefended": judged, "dropout_ensemble": judged},
        "contrasts": {"dropout_ensemble": {**PRIMARY["dropout_ensemble"], **rate(-0.1), "each": [], "verdict": "loss"}},
    }
    metrics["comparisons"]["dropout_ensemble_minus_gaussian_noise_ensemble"] = {
        "minimal": {"recovered": {**rate(-0.1, 0.02), "verdict": "loss"}}
    }
    metrics["params"]["sources"] = SOURCES
    for entry in metrics["defenses"].values():
        entry["test_accuracy"] = rate(0.5)
        entry["minimal"]["recovered"] = rate(own)
    return metrics


@pytest.mark.parametrize(("value", "inside"), [(0.4, True), (0.6, True), (0.3999, False), (0.6001, False)])
def test_a_figure_is_among_the_others_or_outside(value: float, inside: bool) -> None:
    assert among(rate(value), {"each": [0.6, 0.4, 0.5]}) is inside


@pytest.mark.parametrize(("own", "outside"), [(0.4, False), (0.39, True)])
def test_the_section_names_every_figure_that_lies_outside(
    own: float, outside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.reporting.section.as_png", lambda figure: b"\x89PNG")
    metrics = with_replicates(own)
    html = draw(replicates_section(metrics)).html
    count = sum(row.comparable for row in shares(metrics))
    assert 0 < count < len(shares(metrics))  # outcomes of the undefended are what they are by selection
    if outside:
        assert f"Of {count} figures the study&#39;s own lies outside" in html.replace("study's", "study&#39;s")
        assert "in 1 (by luck alone a figure of the same originals lies there in 2 cases of 4," in html
        assert "): the dropout_ensemble: minimal images recovered." in html
    else:
        assert f"own {count} figures lies among those of the 3 trainings" in html
    assert "over 3 trainings of the classifier: -10.0 points [-15.0, -5.0], a loss" in html
    metrics["replicates"]["contrasts"]["dropout_ensemble"]["verdict"] = "not shown"
    assert "no difference shown, n = 3 trainings" in draw(replicates_section(metrics)).html


def test_the_headline_table_has_the_replicates_beside_the_studys_own() -> None:
    metrics = with_replicates()
    rows = {row[0]: row for row in outcome_table(metrics, metrics["defenses"])["rows"]}
    assert "40.0 % [35.0, 45.0]" in rows["the dropout_ensemble, 10 passes"]
    assert "50.0 % [45.0, 55.0]" in rows["the dropout_ensemble, over 3 other trainings of the classifier"]
    assert not any("other trainings" in name for name in rows if "gaussian_noise" in name)
    headline = {row[0]: row for row in one_table(metrics)}
    assert any(
        "50.0 % [45.0, 55.0]" in cell
        for cell in headline["the dropout_ensemble, over 3 other trainings of the classifier"]
    )
    assert len({len(row) for row in headline.values()}) == 1


@pytest.mark.parametrize(("train", "trained", "same"), [(60, True, True), (59, True, False), (59, False, True)])
def test_what_was_trained_on_fewer_images_is_another_defense(
    train: int, trained: bool, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.reporting.section.as_png", lambda figure: b"\x89PNG")
    metrics = with_replicates(0.39)
    metrics["params"]["sources"] = {"train": train, "test": 20}
    metrics["defenses"]["dropout_ensemble"]["trained"] = trained
    assert comparable(metrics, "dropout_ensemble") is same
    html = draw(replicates_section(metrics)).html
    assert ("trained here on images of 60 originals, where the study’s own had 59" in html) is not same
    assert ("the dropout_ensemble: minimal images recovered." in html) is same  # it lies outside
    rows = [row[0] for row in outcome_table(metrics, metrics["defenses"])["rows"] if "dropout" in row[0]]
    assert any("over 3 other trainings" in name for name in rows) is same
