"""Further trainings of the classifier: what a replicate is made of, that it goes on, and what is said of them."""

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.artifacts.judging import Member
from pipeline.artifacts.replication import FOLDERS, Family, Recipe, frames_of, replicate, tidied
from pipeline.artifacts.shards import Arrays, ShardStore
from pipeline.defenses.shared.autoencoder_trials import Architecture
from pipeline.errors import PipelineError
from pipeline.mapper import Advance
from pipeline.metrics.replicates import spread, summarize_replicates
from pipeline.reporting.adaptive import one_table
from pipeline.reporting.outcomes import outcome_table
from pipeline.reporting.predicates import among
from pipeline.reporting.replicates import comparable, replicates_section, shares
from pipeline.reporting.section import draw
from pipeline.stages.check_params import words
from pipeline.stages.replicates import recipe_of
from pipeline.studies import Study as Params
from pipeline.training.autoencoder import AutoencoderTraining
from tests.made_study import made_metrics, rate
from tests.root import ROOT
from tests.study import TRAINING, Study

PRIMARY = {"dropout_ensemble": {"over": "gaussian_noise_ensemble", "attack": "minimal", "outcome": "recovered"}}
SOURCES = {"train": 60, "test": 20}
ENSEMBLE = Family(
    "dropout_ensemble",
    "dropout_ensemble",
    (
        Member("dropout_ensemble", "dropout_ensemble", {"passes": 3, "rate": 0.3}, None),
        Member("gaussian_noise_ensemble", "gaussian_noise_ensemble", {"passes": 3, "sigma": 0.05}, None),
    ),
    None,
)
AUTOENCODER = Family(
    "autoencoder_ensemble",
    "autoencoder_ensemble",
    (Member("autoencoder_ensemble", "autoencoder_ensemble", {"passes": 2}, ""),),
    {
        "architecture": Architecture(channels=(4,), residual=False, dropout=0.1),
        "training": AutoencoderTraining(
            epochs=1, patience=1, batch_size=32, learning_rate=1e-3, clean_share=0.0, classifier_weight=0.0, flip=False
        ),
    },
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def recipe(study: Study) -> Recipe:
    return Recipe(
        study="toy",
        images=study.images,
        seed=0,
        source="toy",
        kind="cnn",
        architecture={"channels": (6,), "dropout": 0.1},
        training=TRAINING,
        counts={"train": 60, "test": 12},
        targets=None,
        attacks={"minimal": {"step_size": 0.05, "max_steps": 100}, "extended": {"step_size": 0.05, "extra_steps": 3}},
        families=(Family("undefended", "undefended", (Member("undefended", "undefended", {}, None),), None), ENSEMBLE,
                  AUTOENCODER),
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(toy: Study, tmp_path_factory: pytest.TempPathFactory) -> list[Arrays]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        return [replicate(number, recipe(toy)) for number in (0, 1)]


def test_a_replicate_is_a_training_with_sets_and_defenses_of_its_own(toy: Study, made: list[Arrays]) -> None:
    names = recipe(toy).defenses
    assert names == ["undefended", "dropout_ensemble", "gaussian_noise_ensemble", "autoencoder_ensemble"]
    tables = frames_of(made, names)
    judged, examples = tables["judged"], tables["examples"]
    assert judged["replicate"].unique().tolist() == examples["replicate"].unique().tolist() == [0, 1]
    for _, rows in judged.groupby(["replicate", "defense"]):
        counts = rows["attack"].value_counts()
        assert (counts["clean_all"], counts["clean"]) == (30, 12)
    # The images are those of the test split, the same in both, as far as both classifiers see them rightly.
    assert set(examples["source_index"]) <= set(range(30))
    sets = [set(rows["source_index"]) for _, rows in examples.groupby("replicate")]
    assert len(sets[0] & sets[1]) >= 10
    # Undefended, an image that fools is neither thwarted nor recovered; a clean image has no target.
    fooling = judged[(judged["defense"] == "undefended") & (judged["attack"] == "minimal")]
    assert fooling["thwarted"].mean() < 0.05  # at margin 0 another batch may decide otherwise
    assert judged.loc[judged["attack"] == "clean_all", "thwarted"].isna().all()
    assert len(fooling) == (examples["is_adversarial"] & (examples["attack"] == "minimal")).sum()
    longer = examples.groupby("attack")["l2"].mean()
    assert longer["extended"] > longer["minimal"]
    assert not np.array_equal(*(part["l2"].to_numpy()[:20] for _, part in examples.groupby("replicate")))


def test_a_replicate_is_a_function_of_what_can_be_sent_to_another_process(
    toy: Study, made: list[Arrays], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sent = pickle.loads(pickle.dumps(partial(replicate, recipe=recipe(toy))))
    again = sent(1)
    assert {name: value.tolist() for name, value in again.items()} == {
        name: value.tolist() for name, value in made[1].items()
    }
    assert not list(tmp_path.rglob("*.safetensors"))  # nothing is left behind


def test_finished_replicates_are_kept_and_more_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.artifacts.shards.WORK", tmp_path)
    store, computed = ShardStore([], {"replicate": "all it comes from, but not how many"}), []

    def compute(number: int, advance: Advance) -> Arrays:
        if number == 2 and not store.folder.joinpath("asked").exists():
            store.folder.joinpath("asked").touch()
            raise KeyboardInterrupt
        computed.append(number)
        return {"judged/row": np.arange(number)}

    with pytest.raises(KeyboardInterrupt):
        store.fill(3, compute)
    store.fill(3, compute)
    store.fill(5, compute)
    assert computed == [0, 1, 2, 3, 4]


def test_what_killed_workers_have_left_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine, others = (FOLDERS / study / "images_0_killed" for study in ("mine", "mine_0"))
    for folder in (mine, others):
        folder.mkdir(parents=True)
    with tidied("mine"):
        assert not mine.exists()
        mine.mkdir(parents=True)
    assert not mine.exists()
    assert others.exists()


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
        assert "in 1 (luck alone puts 2 of 4 there, of the same originals:" in html
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


# --- the block ---------------------------------------------------------------------------------------------------
def test_what_is_not_there_cannot_be_replicated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = Params("demo")
    assert set(words(study)["replicates"]) == set(study.value("replicates.defenses"))
    block = study.params["replicates"]
    block["defenses"] = ["nobody"]
    monkeypatch.setattr(
        "pipeline.stages.sets.chosen_arguments",
        lambda study, key: {"step_size": 0.1, "max_steps": 5} if key == "attacks.minimal" else {"extra_steps": 2},
    )
    with pytest.raises(PipelineError, match=r"replicates\.defenses: expected defenses of the study .*, found 'nobody'"):
        recipe_of(study)
    block["sources"] = {"train": 10, "test": 0}
    with pytest.raises(PipelineError, match=r"replicates\.sources\.test: "):
        recipe_of(study)
    block["defenses"] = ["x;touch hacked"]
    with pytest.raises(PipelineError, match="expected a name"):
        words(study)


def test_another_seed_or_number_is_another_replicate(toy: Study) -> None:
    assert replace(recipe(toy), seed=1) != recipe(toy)
