"""Further trainings of the classifier: what a replicate is made of, and that it goes on."""

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts.judging import Member
from pipeline.artifacts.replication import FOLDERS, Family, Recipe, frames_of, replicate, tidied
from pipeline.artifacts.shards import Arrays, ShardStore
from pipeline.defenses.shared.autoencoder_trials import Architecture
from pipeline.errors import PipelineError
from pipeline.mapper import Advance
from pipeline.stages.check_params import words
from pipeline.stages.replicates import wanted_of
from pipeline.stages.sets import judged_counts
from pipeline.studies import Study as Params
from pipeline.training.autoencoder import AutoencoderTraining
from tests.root import ROOT
from tests.study import TRAINING, Study

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
        brought={},
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


def test_what_is_not_there_cannot_be_replicated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = Params("demo")
    assert set(words(study)["replicates"]) == set(study.value("replicates.defenses"))
    block = study.params["replicates"]
    block["defenses"] = ["nobody"]
    with pytest.raises(PipelineError, match=r"replicates\.defenses: expected defenses of the study .*, found 'nobody'"):
        wanted_of(study)
    block["sources"] = {"train": 10, "test": 0}
    with pytest.raises(PipelineError, match=r"replicates\.sources\.test: "):
        judged_counts(study, "replicates.sources")
    block["defenses"] = ["x;touch hacked"]
    with pytest.raises(PipelineError, match="expected a name"):
        words(study)


def test_another_seed_or_number_is_another_replicate(toy: Study) -> None:
    first, other, seeded = (
        replicate(0, recipe(toy)),
        replicate(1, recipe(toy)),
        replicate(0, replace(recipe(toy), seed=1)),
    )
    for again in (other, seeded):
        assert any(not np.array_equal(first[name], again[name]) for name in first)
