"""What no stage would take is told before the first of them, as the stage would tell it."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.stages.choose_steps import AttackTrials
from pipeline.studies import Study
from pipeline.validation import read_schema, validate
from tests.root import ROOT
from tests.studies import START, STUDIES, Change, change, copy_study, put


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_study(START, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    validate(Study(name), read_schema())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", "x", "seed: expected a whole number, found 'x'"),
        ("sources/train", -3, "sources.train: expected a whole number of at least 0, found -3"),
        ("sources/targets", "some", "sources.targets: expected 'all' or a whole number of at least 1, found 'some'"),
        ("images/test_share", 2, "images.test_share: expected a number in [0.05, 0.5], found 2"),
        ("training/learning_rate", True, "training.learning_rate: expected a number in (0, 10], found True"),
        ("classifier/training/epochs", 0, "classifier.training.epochs: expected a whole number in [1, 1000]"),
        ("classifier/architecture/dropout", 1.5, "classifier.architecture.dropout: expected a number in [0, 0.9]"),
        ("threat/linf/epsilons", [], "threat.linf.epsilons: expected a list of a number in (0, 100000]"),
        ("threat/linf/epsilons", [0.1, 0], "threat.linf.epsilons[1]: expected a number in (0, 100000]"),
        ("attacks/minimal/max_steps", 0, "attacks.minimal.max_steps: expected a whole number in [1, 15000]"),
        ("attacks/minimal/stepsize", 1, "attacks.minimal.stepsize: unknown parameter; expected one of: step_size, "),
        ("other_attacks/fgsm/epsilom", 1, "other_attacks.fgsm.epsilom: unknown parameter; expected one of: epsilon"),
        ("other_attacks/mine", {"method": "pgd_l2", "steps": 0}, "other_attacks.mine.steps: expected a whole number"),
        ("defenses/dropout_ensemble/learn/rate", [2], "defenses.dropout_ensemble.learn.rate[0]: expected a number in"),
        ("defenses/dropout_ensemble/predict/passes", 0, "defenses.dropout_ensemble.predict.passes: expected a whole"),
        ("defenses/gac_vanilla/learn/seeds", 0, "defenses.gac_vanilla.learn.seeds: expected a whole number in [1, "),
        ("defenses/gac_vanilla/learn/training/epochs", -1, "defenses.gac_vanilla.learn.training.epochs: expected a"),
        ("adaptive/all/restarts", 0, "adaptive.all.restarts: expected a whole number in [1, 1000], found 0"),
        ("adaptive/all/ascent/steps", 0, "adaptive.all.ascent.steps: expected a whole number in [1, 10000]"),
        ("adaptive/all/others/square/queries", "few", "adaptive.all.others.square.queries: expected a whole number in"),
        ("replicates/count", -1, "replicates.count: expected a whole number of at least 0, found -1"),
        ("sizes/originals", "all", "sizes.originals: expected a whole number of at least 0, found 'all'"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(project: Path, key: str, value: Any, message: str) -> None:
    change(project, put(key, value))
    with pytest.raises(PipelineError) as caught:
        validate(Study(START), read_schema())
    assert f"studies/{START}/params.yaml: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("other_attacks/mine", {"anything": -1}),  # a file of the study's own
        ("other_attacks/mine", {"method": "imported", "file": "x.npz"}),  # told by check_params itself
        ("defenses/mine", {"learn": {"x": -1}, "predict": {}, "variants": {}}),
        ("defenses/dropout_ensemble/predict/rate", "auto"),
    ],
)
def test_what_only_a_stage_can_tell_is_left_to_it(project: Path, key: str, value: Any) -> None:
    change(project, put(key, value))
    validate(Study(START), read_schema())


@pytest.mark.parametrize(
    "change_one", [put("attack_trials/max_steps", 0), lambda params: params["attack_trials"].popitem()]
)
def test_a_stage_tells_the_same(project: Path, change_one: Change) -> None:
    """The schema is made of the signatures that the stages check with: ranges are the same, and so are the words."""
    change(project, change_one)
    study = Study(START)
    with pytest.raises(PipelineError) as early:
        validate(study, read_schema())
    with pytest.raises(PipelineError) as late:
        study.checked("attack_trials", AttackTrials)
    assert str(early.value) == str(late.value)
