"""What is a verdict over several defenses and their trainings, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

from pipeline.defenses.protocol import load_defense
from pipeline.errors import PipelineError
from pipeline.metrics.comparisons import compare_evaluations, compare_family, holm
from pipeline.metrics.summary import summarize_evaluation
from pipeline.reporting.comparison import compared
from pipeline.reporting.names import one_training, with_trainings
from pipeline.reporting.outcomes import outcome_table
from pipeline.reporting.predicates import gains, loses, too_few
from pipeline.stages.families import primary_of
from pipeline.studies import Study as Params
from tests.made_study import made_metrics
from tests.root import ROOT


def test_holm_is_the_published_procedure() -> None:
    """Holm (1979): the smallest of m times m, the next times m - 1, and none below one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def evaluation(right: np.ndarray, attacks: tuple[str, ...] = ("minimal", "extended")) -> pd.DataFrame:
    """right : bool (trainings, originals); the same for every set."""
    parts = []
    for training, row in enumerate(right):
        for attack in ("clean_all", "clean", *attacks):
            clean = attack.startswith("clean")
            parts.append(
                pd.DataFrame(
                    {
                        "attack": attack,
                        "setting": "transfer",
                        "training": training,
                        "row": np.arange(len(row)),
                        "original_row": np.arange(len(row)),
                        "target_label": None if clean else 1,
                        "passes": 1,
                        "vote_variance": 0.0,
                        "recovered": row,
                        "thwarted": None if clean else row,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def right_of(trainings: int, wrong: int) -> np.ndarray:
    right = np.ones((trainings, 400), bool)
    right[:, :wrong] = False
    return right


PRIMARY = {"over": "control", "attack": "minimal", "outcome": "recovered"}


@pytest.mark.parametrize(("trainings", "verdict"), [(1, "too few trainings"), (2, "too few trainings"), (3, "gain")])
def test_rivals_that_were_trained_have_no_verdict_from_fewer_than_three_trainings(trainings: int, verdict: str) -> None:
    both = {"mine": evaluation(right_of(trainings, 10)), "control": evaluation(right_of(trainings, 90))}
    found = compare_family({"mine": "", "control": "control"}, both, PRIMARY)
    minimal = found["mine_minus_control"]["minimal"]["recovered"]
    assert (minimal["verdict"], minimal["primary"], minimal["trainings"]) == (verdict, True, trainings)
    assert too_few(minimal) is (trainings < 3)
    assert gains(minimal) is (trainings == 3)
    # The same network, or the attacked classifier, is no rival that was trained by itself.
    for roles in ({"mine": "", "control": ""}, {"mine": "", "control": None}):
        assert compare_family(roles, both, PRIMARY)["mine_minus_control"]["minimal"]["recovered"]["verdict"] == "gain"


def test_the_declared_contrast_is_not_corrected_and_all_others_are() -> None:
    """Six of 400 differ, to one side: exact p 0.031, which three such tests cannot show."""
    mine, other = right_of(1, 0), right_of(1, 6)
    found = compare_family(
        {"mine": None, "control": None}, {"mine": evaluation(mine), "control": evaluation(other)}, PRIMARY
    )
    by = {attack: difference["recovered"] for attack, difference in found["mine_minus_control"].items()}
    assert by["minimal"]["p"] == by["extended"]["p"] == pytest.approx(2 * 0.5**6)
    assert [by[name]["primary"] for name in ("clean", "minimal", "extended")] == [False, True, False]
    assert by["minimal"]["p_holm"] == by["minimal"]["p"]
    assert by["extended"]["p_holm"] == pytest.approx(2 * by["extended"]["p"])
    assert gains(by["minimal"])
    assert by["extended"]["low"] > 0  # the interval alone would have said so
    assert not gains(by["extended"])
    assert not loses(by["extended"])
    turned = compare_family(
        {"control": None, "mine": None}, {"mine": evaluation(mine), "control": evaluation(other)}, None
    )
    assert [one["recovered"]["verdict"] for one in turned["control_minus_mine"].values()] == ["not shown"] * 3


def test_summary_of_several_trainings_is_their_mean() -> None:
    right = np.concatenate([right_of(1, 40), right_of(1, 80), right_of(1, 60)])
    found = summarize_evaluation(evaluation(right))
    assert (found["trainings"], found["interval"]) == (3, "over trainings and originals")
    assert found["test_accuracy"]["value"] == pytest.approx(0.85)  # of training 0: 0.9
    assert found["minimal"]["recovered"]["value"] == pytest.approx(0.85)
    assert found["minimal"]["recovered"]["low"] < 0.8
    one = summarize_evaluation(evaluation(right[:1]))
    assert (one["trainings"], one["interval"]) == (1, "over originals")


def test_trainings_of_other_images_are_refused() -> None:
    frame = evaluation(right_of(2, 0))
    frame.loc[frame.index[-1], "row"] = 7777
    with pytest.raises(PipelineError, match="evaluation of 'extended': expected the same images of each training"):
        summarize_evaluation(frame)


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


# --- words -------------------------------------------------------------------------------------------------------
def test_a_table_says_of_how_many_trainings_a_figure_is() -> None:
    families = {name: [name] for name in ("dropout_ensemble", "autoencoder_ensemble", "gac_vanilla")}
    metrics = made_metrics(families, {"gac_vanilla": "gac"})
    names = [with_trainings(metrics, name) for name in families]
    assert names == [
        "the dropout_ensemble",
        "the autoencoder_ensemble, one training",
        "the gac_vanilla, mean of 3 trainings",
    ]
    rows = {row[0]: row for row in outcome_table(metrics, metrics["defenses"])["rows"]}
    assert rows["the gac_vanilla, mean of 3 trainings"][-1] == "10.0 % [5.0, 15.0], one training"
    assert rows["the undefended"][-1] == "10.0 % [5.0, 15.0]"
    assert one_training(metrics, "autoencoder_ensemble", "x") == "x"  # its name says so


def test_the_comparison_of_studies_says_so_too() -> None:
    families = {name: [name] for name in ("dropout_ensemble", "autoencoder_ensemble", "gac_vanilla")}
    groups = dict(compared({"made": made_metrics(families, {"gac_vanilla": "gac"})}).groups)
    thwarted, robust = groups["minimal images thwarted, test split"], groups["robust accuracy under adaptive attack"]
    assert [row[1] for row in thwarted] == [
        "50.0 % [45.0, 55.0]",
        "50.0 % [45.0, 55.0]",
        "50.0 % [45.0, 55.0], one training",
        "50.0 % [45.0, 55.0], mean of 3 trainings",
    ]
    assert [row[1].endswith("one training") for row in robust[1:]] == [False, False, True, True]


def test_a_contrast_is_over_the_variant_of_that_role_or_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    demo = Params("demo")
    for family, over in (
        ("gac_vanilla", "gac_vanilla_control"),
        ("dropout_ensemble", "gaussian_noise_ensemble"),
        ("autoencoder_ensemble", "gaussian_blur"),
    ):
        declared = primary_of(demo, family, load_defense(demo.method(family)))
        assert declared == {"over": over, "attack": "minimal", "outcome": "recovered"}
    assert primary_of(demo, "adversarial_training", load_defense("adversarial_training")) is None
    # A study that has taken the variant out has no such contrast.
    assert primary_of(demo, "undefended", load_defense("gac")) is None
