"""Which sections a report has, and that they stand studies of every shape."""

import re

import jinja2
import pandas as pd
import pytest

from pipeline.reporting.adaptive import adaptive_section
from pipeline.reporting.detection import detection_section
from pipeline.reporting.other_attacks import other_attacks_section
from pipeline.reporting.outcomes import overview_section
from pipeline.reporting.page import render_page
from pipeline.reporting.perturbations import classifier_section
from pipeline.reporting.report import sections
from pipeline.reporting.section import Section, draw, draw_all
from tests.made_results import drawn, made_results
from tests.made_study import AUTOENCODER, DROPOUT, GAC, METHODS, ROBUST, made_metrics, rate

NOTHING_BEFORE: dict = {"commit": "", "studies": {}, "changed": {}}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and not drawn, which takes the longest."""
    monkeypatch.setattr("pipeline.reporting.section.as_png", lambda figure: b"\x89PNG")


def names(metrics: dict) -> list[str]:
    return list(sections(metrics, made_results(metrics)))


def made(metrics: dict, name: str) -> Section:
    return sections(metrics, made_results(metrics))[name]()


@pytest.mark.usefixtures("undrawn")
def test_a_study_with_every_family_has_every_section() -> None:
    metrics = made_metrics({**DROPOUT, **AUTOENCODER, **GAC, **ROBUST}, METHODS)
    found = drawn(metrics)
    titles = [section.title for section in found]
    assert len(titles) == 11
    for section in found:  # every figure is shown once
        assert section.html.count("<img ") == len(section.pictures), section.title
    assert [title for title in titles if title.startswith("Defense")] == [
        "Defense 1: dropout ensemble",
        "Defense 2: dropout-enabled autoencoder ensemble",
        "Defense 3: Generative Adversarial Classifier",
    ]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("families", "template"),
    [(DROPOUT, "dropout"), (AUTOENCODER, "autoencoder"), (GAC, "gac"), (ROBUST, "adversarial_training")],
)
def test_a_section_appears_for_its_family_alone(families: dict, template: str) -> None:
    own = {"dropout", "autoencoder", "gac", "adversarial_training"}
    metrics = made_metrics(families, METHODS)
    assert set(names(metrics)) & own == {template}
    assert not set(names(made_metrics())) & own
    assert draw(made(metrics, template)).html


@pytest.mark.usefixtures("undrawn")
def test_two_families_of_one_method_share_a_section_and_the_papers_is_told_apart() -> None:
    families = {**AUTOENCODER, "deeper": ["deeper"]}
    metrics = made_metrics(families, {"deeper": "autoencoder_ensemble"})
    section = made(metrics, "autoencoder")
    assert {"figure_8_thwarted", "deeper_thwarted", "restored_deeper"} <= set(section.figures)
    assert "the deeper" in draw(section).html
    metrics = made_metrics({"deeper": ["deeper"]}, {"deeper": "autoencoder_ensemble"})
    section = made(metrics, "autoencoder")
    assert "figure_8_thwarted" not in section.figures
    draw(section)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("families", "shown"),
    [
        ({"gaussian_noise_ensemble": ["gaussian_noise_ensemble"]}, "gaussian_noise_ensemble"),
        ({"light": ["light"], **DROPOUT}, "dropout_ensemble"),  # the paper's, wherever it stands
    ],
)
def test_an_ensemble_of_another_name_has_the_section_too(families: dict, shown: str) -> None:
    metrics = made_metrics(families, dict.fromkeys(families, "dropout_ensemble"))
    assert f"The the {shown} on 30 test originals" in draw(made(metrics, "dropout")).html


@pytest.mark.usefixtures("undrawn")
def test_a_users_own_defense_is_in_every_table_of_all_defenses() -> None:
    metrics = made_metrics({"mine": ["mine", "mine_too"]})
    results = made_results(metrics)
    for section in (
        overview_section(metrics, NOTHING_BEFORE),
        adaptive_section(metrics),
        detection_section(metrics, results.detection, results.detection_curves),
        other_attacks_section(metrics, results.sets, results.success, results.class_names),
    ):
        html = draw(section).html
        assert "<th>the mine" in html
        assert "<th>the mine_too" in html


@pytest.mark.usefixtures("undrawn")
def test_a_defense_without_a_label_is_called_by_its_key() -> None:
    metrics = made_metrics({"mine_too": ["mine_too"]})
    del metrics["labels"]["mine_too"]
    assert "mine too" in draw(overview_section(metrics, NOTHING_BEFORE)).html


@pytest.mark.usefixtures("undrawn")
def test_what_is_left_out_and_who_trained_is_said() -> None:
    metrics = made_metrics()
    metrics["labels"]["thrice"] = "Thrice"
    metrics["left_out"] = {"attacks": {"large": "too large"}, "defenses": {"thrice": "no dice"}, "parts": {}}
    metrics["classifier"] |= {"trained_by": "somebody else: a:b", "parameters": 1234567}
    curves = pd.DataFrame({"epoch": [], "split": [], "loss": [], "accuracy": []})
    html = draw(classifier_section(metrics, curves)).html
    for words in (
        "attack large",
        "too large",
        "Thrice",
        "no dice",
        "somebody else: a:b",
        "1,234,567",
        "taken as it is",
    ):
        assert words in html
    assert "What is left out" not in draw(made(made_metrics(), "classifier")).html


@pytest.mark.usefixtures("undrawn")
def test_names_of_a_user_are_escaped() -> None:
    metrics = made_metrics({"mine": ["mine"]})
    metrics["labels"]["mine"] = "<script>alert(1)</script>"
    metrics["run"]["source"] = "<b>bold</b>"
    page = render_page("<i>study</i>", [draw(made(metrics, name)) for name in ("classifier", "overview", "detection")])
    for tag in ("<script>", "<b>", "<i>"):
        assert tag not in page


@pytest.mark.usefixtures("undrawn")
def test_without_a_yardstick_nothing_is_said_of_it() -> None:
    metrics = made_metrics(others=("fgsm", "foolbox_x"), yardsticks=("minimal",))
    section = made(metrics, "other_attacks")
    assert "yardstick" not in draw(section).html
    metrics = made_metrics()
    section = made(metrics, "other_attacks")
    assert "ddn looks for the smallest perturbation" in draw(section).html


@pytest.mark.usefixtures("undrawn")
def test_images_made_elsewhere_are_said_to_be() -> None:
    metrics = made_metrics(DROPOUT)
    assert "made elsewhere" not in draw(made(metrics, "other_attacks")).html
    params = {"method": "imported", "file": "theirs.npz", "targeted": False, "of_wrong_originals": 2}
    metrics["attacks"]["fgsm"]["params"] = params
    html = draw(made(metrics, "other_attacks")).html
    assert "The images of fgsm were made elsewhere (theirs.npz), of 3 test originals" in html
    assert "the class that the attacked classifier sees" in html
    assert "2 more are left aside" in html
    below = re.search(r"Below 99.9 % at the end of the curve: (.*?)\. An attack", html)
    assert below
    assert "fgsm" not in below[1]
    metrics["attacks"]["fgsm"]["params"] = {**params, "targeted": True, "of_wrong_originals": 0}
    html = draw(made(metrics, "other_attacks")).html
    assert "towards a target each" in html
    assert "left aside" not in html


@pytest.mark.usefixtures("undrawn")
def test_without_other_attacks_sizes_or_whole_attacks_the_rest_stands() -> None:
    metrics = made_metrics(others=(), yardsticks=("minimal",))
    metrics["sizes"]["models"] = {}
    metrics["adaptive"] = {}
    assert names(metrics) == ["overview", "classifier", "attacks", "detection"]
    assert len(drawn(metrics)) == 4


@pytest.mark.usefixtures("undrawn")
def test_what_became_weaker_was_changed_or_says_little_comes_first() -> None:
    metrics = made_metrics()
    metrics["run"]["study"] = "made"
    high = {"kind": "accuracy", "of": "", "value": 2, "low": 1.9, "high": 2.1}
    earlier = {"commit": "1234567", "studies": {"made": [high]}, "changed": {"made": ["its epochs"]}}
    html = draw(overview_section(metrics, earlier)).html
    words = ["Weaker than before", "Classifier, accuracy: 200.0 %", "had been seen", "its epochs", "<table"]
    assert [html.index(word) for word in words] == sorted(html.index(word) for word in words)
    metrics["defenses"]["undefended"]["originals"] = 100
    assert "These are 100 originals: the figures say little" in draw(overview_section(metrics, NOTHING_BEFORE)).html


@pytest.mark.usefixtures("undrawn")
def test_a_template_that_asks_for_more_than_its_data_hold_is_an_error() -> None:
    section = overview_section(made_metrics(), NOTHING_BEFORE)
    with pytest.raises(jinja2.UndefinedError):
        draw(Section(section.template, {}))


def test_processes_side_by_side_make_the_same_sections() -> None:
    metrics = made_metrics(DROPOUT)
    results = made_results(metrics)
    makers = [sections(metrics, results)[name] for name in ("overview", "adaptive", "sizes")]
    assert draw_all(makers, workers=2) == draw_all(makers, workers=1)


def test_an_error_in_a_process_of_its_own_comes_out() -> None:
    with pytest.raises(jinja2.TemplateNotFound):
        draw_all([lambda: Section("nothing", {})] * 2, workers=2)


@pytest.mark.usefixtures("undrawn")
def test_verdicts_of_the_rival_are_both_ways_and_never_a_null() -> None:
    words = {}
    for its in (0.3, 0.4, 0.5):
        metrics = made_metrics(DROPOUT)
        metrics["comparisons"]["dropout_ensemble_minus_gaussian_noise_ensemble"] = {
            kind: {"recovered": rate(0.4 - its, 0.01)} for kind in ("clean", "minimal", "extended")
        }
        html = draw(made(metrics, "dropout")).html
        assert html.count("points [") == 3
        assert ("not the same price" in html) == (its != 0.4)
        words[its] = re.findall(r"(the rival does better|does better|no difference shown \(n = 30\))[,. ]", html)
    assert words[0.3] == ["does better"] * 2
    assert words[0.4] == ["no difference shown (n = 30)"] * 2
    assert words[0.5] == ["the rival does better"] * 2


@pytest.mark.usefixtures("undrawn")
def test_words_of_verdict_are_defined_once() -> None:
    metrics = made_metrics({**DROPOUT, **AUTOENCODER, **GAC, **ROBUST}, METHODS)
    pages = [section.html for section in drawn(metrics)]
    for word in ("holds", "partly", "not shown", "fails", "no difference shown"):
        assert sum(page.count(f"<em>{word}</em>") for page in pages) == 1, word
    text = re.sub(r"<[^>]+>", " ", " ".join(pages))
    for null in ("does as well", "buy nothing", "buys nothing", "is not better", "makes no difference"):
        assert null not in text
    assert len(re.findall(r"no difference shown(?! *(,|\(n|,? *with the number))", text)) == 0
