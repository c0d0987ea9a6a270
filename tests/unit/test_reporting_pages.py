"""The pages of several studies: the index with its comparison, and the Markdown of the results."""

import re

import pytest

from pipeline.reporting.comparison import compared
from pipeline.reporting.page import render_index
from pipeline.reporting.results_page import markdown, results_page
from tests.made_study import made_metrics, rate

FAMILIES = {
    "dropout_ensemble": ["dropout_ensemble", "gaussian_noise_ensemble"],
    "autoencoder_ensemble": ["autoencoder_ensemble"],
    "gac_vanilla": ["gac_vanilla", "gac_vanilla_control", "gac_vanilla_noise_control"],
    "adversarial_training": ["adversarial_training"],
    "mine": ["mine"],
}


def full() -> dict:
    return made_metrics(FAMILIES, {"gac_vanilla": "gac"})


def test_the_page_says_on_which_device_what_was_computed() -> None:
    metrics = full()
    metrics["run"]["devices"] = {"minimal": "a card", "learn-mine": "a core", "learn-other": "a core"}
    assert "Measured on a card and a core." in results_page({"new": metrics})
    metrics["run"]["devices"] = {"minimal": "a card"}
    assert "Measured on a card." in results_page({"new": metrics})


def test_studies_with_different_defenses_stand_side_by_side() -> None:
    comparison = compared({"one": made_metrics({"mine": ["mine"]}), "other": made_metrics({"yours": ["yours"]})})
    rows = {row[0]: row[1:] for row in dict(comparison.groups)["robust accuracy under adaptive attack"]}
    assert rows["the mine"] == ["10.0 % [5.0, 15.0]", "—"]
    assert rows["the yours"] == ["—", "10.0 % [5.0, 15.0]"]
    assert rows["budget"] == ["L∞ 0.1", "L∞ 0.1"]


def test_the_papers_norms_stand_beside_ours_for_its_images() -> None:
    theirs = full()
    theirs["run"]["dataset"] = "mnist"
    rows = {
        row[0]: row[1:] for row in dict(compared({"mine": full(), "paper": theirs}).groups)["images and classifier"]
    }
    assert rows["mean L2, minimal (paper)"] == ["1", "1 (1.35)"]


@pytest.mark.parametrize("families", [None, {"mine": ["mine"]}, FAMILIES])
def test_the_results_page_stands_a_study_of_any_defenses(families: dict | None) -> None:
    text = results_page({"made": made_metrics(families, {"gac_vanilla": "gac"})})
    assert "\n\n\n" not in text
    assert ("Generative" in text) is (families is FAMILIES)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_an_earlier_analysis_is_told_where_there_is_a_gac() -> None:
    told = "-1.9 points [-2.9, -0.8] over noise, of 3 trainings. These test results had been seen when the rule got its"
    assert told in results_page({"made": full()})
    assert "chosen twice" not in results_page({"made": made_metrics({"mine": ["mine"]})})


def test_the_results_page_says_every_gain_and_every_loss() -> None:
    metrics = full()
    everywhere = metrics["gac"]["gac_vanilla"]["gain_on"]
    text = results_page({"made": metrics})
    assert (
        "- the gac_vanilla over its noise control: it gains on 0 of 4 kinds of images; it loses on 1: fgsm -30.0 points"
        " [-35.0, -25.0]; no difference shown (n: originals) on 3: clean (n = 30); minimal (n = 30);" in text
    )
    everywhere["extended"] = {
        "over_control": {**rate(0.1, 0.05), "verdict": "gain"},
        "over_noise_control": {**rate(-0.1, 0.05), "verdict": "loss"},
    }
    text = results_page({"made": metrics})
    assert "over its control: it gains on 1 of 4 kinds of images: extended +10.0 points [+5.0, +15.0]" in text
    assert "over its noise control: it gains on 0 of 4 kinds of images; it loses on 2: extended" in text


def test_two_trainings_are_no_verdict_and_three_are() -> None:
    metrics = full()
    for over in metrics["gac"]["gac_vanilla"]["gain_on"]["fgsm"].values():
        over["verdict"] = "too few trainings"
    assert "over its control: no verdict from fewer than three trainings: fgsm -30.0 points" in results_page(
        {"made": metrics}
    )


def test_a_bar_within_a_cell_does_not_end_it() -> None:
    assert markdown(["a"], [["b|c"]]).splitlines()[-1] == r"| b\|c |"


def test_no_name_of_a_user_is_code_in_the_index() -> None:
    metrics = made_metrics({"mine": ["mine"]})
    metrics["labels"]["mine"] = "<script>"
    assert "<script>" not in render_index({"one": metrics})
