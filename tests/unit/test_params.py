"""Parameters: types, ranges, and messages that name the thing, what was expected and what was found."""

import copy
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pytest

from pipeline.attacks import extended, minimal
from pipeline.attacks.ddn import ddn
from pipeline.attacks.fgsm import fgsm
from pipeline.attacks.foolbox import foolbox
from pipeline.attacks.pgd_linf import pgd_linf
from pipeline.attacks.shared.budgets import within_threat
from pipeline.attacks.shared.protocol import load_attack
from pipeline.defenses.gaussian_blur import gaussian_blur
from pipeline.defenses.protocol import load_defense
from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.cnn import Classifier
from pipeline.params import AUTO, arguments_for, block_at, check_value, parameters_of, read_yaml, with_values
from pipeline.ranges import Range
from pipeline.registry import split_method
from pipeline.reporting.formats import flat
from pipeline.stages import families
from pipeline.stages.attack_defense import settings_of
from pipeline.stages.choose_steps import AttackTrials
from pipeline.stages.replicates import count_of
from pipeline.stages.sets import source_counts
from pipeline.studies import Study
from pipeline.study_blocks import INNER
from pipeline.training.classifier import fit_classifier
from tests.root import ROOT

STUDY = "digits"
FILE = f"studies/{STUDY}/params.yaml"
PARAMS = read_yaml(ROOT / FILE)
COUNT = Annotated[int, Range(1, 10**7)]
# What rules choose, as if they had.
CHOSEN = {
    "rate": 0.3, "dropout": 0.1, "lambda_": 1.0, "gaussian_noise_ensemble.sigma": 0.1, "gaussian_blur.sigma": 0.5,
}  # fmt: skip


def attack(study: Study, key: str) -> Any:
    method, own = split_method(key, study.value(f"other_attacks.{key}"), study.where(f"other_attacks.{key}"))
    found = load_attack(method)
    own = within_threat(found, own, study.budgets, study.where(f"other_attacks.{key}"))
    return study.arguments(found.run, f"other_attacks.{key}", own)


def paper(study: Study, key: str, function: Callable[..., Any]) -> Any:
    choices = {"step_size": 0.1, "extra_steps": 3}
    return study.arguments(function, key, {"step_size": 0.1} | study.resolved(study.value(key), key, choices))


def defense(study: Study, key: str) -> None:
    method = load_defense(study.method(key))
    families.learning_arguments(study, key, method)
    if method.examine:
        families.examining_arguments(study, key, method, CHOSEN)
    for name in study.families[key]:
        where = f"defenses.{key}.predict" if name == key else f"defenses.{key}.variants.{name}"
        block = {name: value for name, value in study.value(where).items() if name not in ("learned", "method")}
        resolved = study.resolved(block, where, CHOSEN, "" if name == key else f"{name}.")
        study.arguments(load_defense(study.method(key, name)).predict, where, resolved)


def adaptive(study: Study) -> None:
    for family, names in study.families.items():
        for name in names:
            settings_of(study, name, load_defense(study.method(family, name)).randomized)


# By block, what its stages do with it before they compute.
CHECKS: dict[str, Callable[[Study], Any]] = {
    "images.test_share": lambda study: study.checked("images.test_share", Annotated[float, Range(0.05, 0.5)]),
    "classifier.architecture": lambda study: study.arguments(Classifier, "classifier.architecture"),
    "classifier.training": lambda study: study.training(fit_classifier, "classifier.training"),
    "training": lambda study: study.training(fit_classifier, "classifier.training"),
    "sources": lambda study: source_counts(study, "sources"),
    **{f"threat.{norm}": lambda study, norm=norm: study.threat(norm) for norm in PARAMS["threat"]},
    "attack_trials": lambda study: study.checked("attack_trials", AttackTrials),
    "attacks.minimal": lambda study: paper(study, "attacks.minimal", minimal.attack.run),
    "attacks.extended": lambda study: paper(study, "attacks.extended", extended.attack.run),
    "other_sources": lambda study: (
        source_counts(study, "other_sources"),
        study.checked("other_sources.curve", COUNT),
    ),
    **{f"other_attacks.{key}": lambda study, key=key: attack(study, key) for key in PARAMS["other_attacks"]},
    **{f"defenses.{key}": lambda study, key=key: defense(study, key) for key in PARAMS["defenses"]},
    "adaptive": adaptive,
    **{
        f"sizes.classifiers.{name}": lambda study, key=f"sizes.classifiers.{name}": study.arguments(Classifier, key)
        for name in PARAMS["sizes"]["classifiers"]
    },
    "replicates.count": count_of,
    "replicates.sources": lambda study: source_counts(study, "replicates.sources"),
    "sizes.training": lambda study: study.training(fit_classifier, "sizes.training"),
    "sizes.originals": lambda study: study.checked("sizes.originals", COUNT),
}


def check_of(key: str) -> Callable[[Study], Any]:
    return next(check for block, check in CHECKS.items() if f"{key}.".startswith(f"{block}."))


def numbers() -> list[str]:
    """Keys of all numbers of the study, and of what a rule chooses."""
    words = ("study", "seed", "images.source")
    found = []
    for key, value in flat(PARAMS).items():
        first = value[0] if isinstance(value, list) else value
        if "foolbox" in key:  # its own library's affair
            continue
        if key not in words and not isinstance(first, bool) and (first == AUTO or not isinstance(first, str)):
            found.append(key)
    return found


@cache
def whole_study() -> Study:
    return Study(STUDY)


def changed(monkeypatch: pytest.MonkeyPatch, key: str, value: Any) -> Study:
    """The study with another value at a key; None takes the key away."""
    monkeypatch.chdir(ROOT)
    study = copy.copy(whole_study())
    study.params = copy.deepcopy(PARAMS)
    block, _, name = key.rpartition(".")
    place = block_at(study.params, block, study.file) if block else study.params
    if value is None:
        del place[name]
    else:
        place[name] = value
    return study


def found_in(value: Any, wrong: Any) -> Any:
    return [wrong] if isinstance(value, list) else wrong


def test_the_study_passes_its_own_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    study = changed(monkeypatch, "seed", 0)
    for check in CHECKS.values():
        check(study)


@pytest.mark.parametrize("key", numbers())
def test_every_number_has_a_range_and_is_a_number(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too small, too large, no number at all: each refused by a line that names file and key, expected and found."""
    value = block_at(PARAMS, key, Path(FILE))
    for wrong in (-1, 10**13, "nonsense", True, AUTO):  # nothing anywhere may be so small or so large
        if wrong == AUTO == value:
            continue
        study = changed(monkeypatch, key, found_in(value, wrong))
        with pytest.raises(PipelineError) as caught:
            check_of(key)(study)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"{FILE}: {key.split('.')[0]}"), message
        assert key.rpartition(".")[2] in message
        assert "expected" in message
        assert "found" in message


@pytest.mark.parametrize(
    "block", [key for key in CHECKS if isinstance(block_at(PARAMS, key, Path(FILE)), dict) and key not in INNER]
)
def test_unknown_keys_are_refused(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of INNER are as soon as the file is read: tests/unit/test_studies.py."""
    key = f"{block}.learn" if block.startswith("defenses.") else f"{block}.all" if block == "adaptive" else block
    study = changed(monkeypatch, f"{key}.stepsize", 1)
    with pytest.raises(PipelineError, match=r"stepsize: unknown parameter; expected one of: .+"):
        check_of(block)(study)


FUNCTIONS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (minimal.minimal, {"step_size": 0.1, "max_steps": 10}),
    (extended.extended, {"step_size": 0.1, "extra_steps": 3}),
    (fgsm, {"epsilon": 0.1}),
    (ddn, {"steps": 10}),
    (foolbox, {"name": "LinfPGD", "arguments": {}}),
    (pgd_linf, {"epsilon": 0.1, "steps": 3, "relative_step_size": 0.1, "restarts": 1}),
    (Classifier, {"channels": [8], "dropout": 0.1}),
    (fit_classifier, {"epochs": 2, **PARAMS["training"]}),
    (gaussian_blur, {"sigma": 0.5}),
    (Autoencoder, {"channels": [8], "residual": False, "dropout": 0.1}),
]


@pytest.mark.parametrize(("function", "good"), FUNCTIONS)
def test_wrong_types_unknown_and_missing_keys_are_named(function: Callable[..., Any], good: dict[str, Any]) -> None:
    arguments_for(function, good, "key")
    for name in good:
        annotation, default = parameters_of(function)[name]
        with pytest.raises(PipelineError, match=rf"key\.{name}"):
            arguments_for(function, {**good, name: 7 if annotation is str else "nonsense"}, "key")
        if default is not inspect.Parameter.empty:
            continue
        with pytest.raises(PipelineError, match=rf"key\.{name}: missing"):
            arguments_for(function, {k: v for k, v in good.items() if k != name}, "key")
    with pytest.raises(PipelineError, match=r"key\.stepsize: unknown parameter; expected one of"):
        arguments_for(function, {**good, "stepsize": 1}, "key")
    with pytest.raises(PipelineError, match="expected a block"):
        arguments_for(function, 3, "key")


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("attack: {step_size: 1e-3}\n")
    value = block_at(read_yaml(path), "attack.step_size", path)
    assert check_value(value, Annotated[float, Range(0, 1, low_open=True)], "x") == 0.001


def test_zero_is_outside_an_open_range() -> None:
    with pytest.raises(PipelineError, match=r"in \(0, 1\], found 0"):
        check_value(0, Annotated[float, Range(0, 1, low_open=True)], "x")


@pytest.mark.parametrize("value", [True, "1", 1.5, None, [1]])
def test_whole_numbers_are_just_that(value: Any) -> None:
    with pytest.raises(PipelineError, match="x: expected a whole number"):
        check_value(value, int, "x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "0.1"])
def test_numbers_are_finite(value: Any) -> None:
    with pytest.raises(PipelineError, match="x: expected a number"):
        check_value(value, float, "x")


def test_missing_keys_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        PipelineError, match=r"p\.yaml: no 'svhn' in classifier: expected one of: architecture, training"
    ):
        block_at(PARAMS, "classifier.svhn", Path("p.yaml"))
    with pytest.raises(PipelineError, match=r"nothing\.yaml: no such file"):
        read_yaml(tmp_path / "nothing.yaml")
    broken = tmp_path / "broken.yaml"
    for text, words in {"a: [1,\n": "not valid YAML", "3\n": "expected a mapping", "a: \xff": "not valid YAML"}.items():
        broken.write_bytes(text.encode("latin-1"))
        with pytest.raises(PipelineError, match=rf"broken\.yaml: {words}"):
            read_yaml(broken)


def test_values_are_set_and_comments_kept() -> None:
    text = "a: 1\nb:\n  c: [1, 2] # two\n  d: x\n"
    changed = with_values(text, {"b.c": [3, 4], "a": {"e": (5, 6)}})
    assert changed == "a:\n  e: [5, 6]\nb:\n  c: [3, 4] # two\n  d: x\n"
