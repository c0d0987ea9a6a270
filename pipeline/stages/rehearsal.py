"""What every stage takes of a study's params file, asked of it before the first runs.

The stages read their numbers by the functions that are called here: what is refused is what they would refuse, in their
words; beside it a block that no stage reads. In place of a number that a rule will choose stands one that the parameter
may have. What only the images, the weights or what was learned can tell is left to the stages.
"""

import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from math import isfinite
from typing import Any

from pipeline.artifacts.outside import builder, given_classifier
from pipeline.artifacts.raw import sources
from pipeline.artifacts.raw.wanted import Images
from pipeline.defenses.protocol import Defense, load_defense
from pipeline.devices import check_bfloat16, choose_device
from pipeline.errors import LeftOut, PipelineError
from pipeline.metrics.adaptive import check_same_budget
from pipeline.metrics.sources import quota_of
from pipeline.models.classifier import check_buildable
from pipeline.params import AUTO, UNIONS, parameters_of
from pipeline.ranges import Range
from pipeline.registry import IMPORTED
from pipeline.stages.attack import Curve, attack_of, method_of
from pipeline.stages.attack_defense import settings_of
from pipeline.stages.choose_steps import AttackTrials
from pipeline.stages.families import examining_arguments, learning_arguments, members_of, settled_arguments
from pipeline.stages.replicates import count_of, network_of, wanted_of
from pipeline.stages.sets import (
    extended_arguments,
    judged_counts,
    minimal_arguments,
    source_counts,
    target_count,
)
from pipeline.stages.sizes import asked_of
from pipeline.studies import Study
from pipeline.training.classifier import fit_classifier

MOST_CLASSES = 256


def rehearse(study: Study) -> None:
    """Ask every stage of the study for its arguments. Raises PipelineError at the first that is wrong."""
    if any(_in_bfloat16(study.params)):
        check_bfloat16(choose_device())
    sources.wanted(study.checked("images", Images), study.source, study.where("images"), study.seed)
    _classifier(study)
    _paper_attacks(study)
    _other_attacks(study)
    for key in study.families:
        with _said_of(study, f"defenses.{key}"):
            _family(study, key)
    _adaptive(study)
    _replicates(study)
    with suppress(LeftOut):
        *_, originals = asked_of(study)
        for name in [] if study.brings_classifier else study.block("sizes.classifiers"):
            _buildable(study, f"sizes.classifiers.{name}")
        _targets_and_quotas(study, "sizes", {"originals": originals})


def _in_bfloat16(block: Any) -> Iterator[bool]:
    """Of each number `precision` at or below it whether it asks for bfloat16."""
    if isinstance(block, Mapping):
        for key, value in block.items():
            yield key == "precision" and value == "bfloat16"
            yield from _in_bfloat16(value)


def _classifier(study: Study) -> None:
    if study.brings_classifier:
        builder(study.folder, given_classifier(study.file, study.block("classifier")))
    else:
        _buildable(study, "classifier.architecture")
        study.training(fit_classifier, "classifier.training")


def _buildable(study: Study, key: str) -> None:
    """Whether the arguments at a key build a network for images of the study's size, where that is known."""
    arguments, images = study.arguments(study.kind, key), study.checked("images", Images)
    if shape := sources.shape(images):
        check_buildable(study.kind, shape, sources.class_count(images) or 2, arguments, study.where(key))


def _paper_attacks(study: Study) -> None:
    study.checked("attack_trials", AttackTrials)
    _targets_and_quotas(study, "attack_trials", {})
    choices = {"step_size": 1.0, "extra_steps": 1}
    extended_arguments(study, minimal_arguments(study, choices), choices)
    _targets_and_quotas(study, "sources", judged_counts(study, "sources"))


def _other_attacks(study: Study) -> None:
    run = [key for key in study.other_attacks if method_of(study, key) != IMPORTED]
    for key in run:
        with _said_of(study, f"other_attacks.{key}"):
            attack, _, _ = attack_of(study, key)
            if not attack.targeted:
                attack.check(True, 1, 1)
    if run:
        _targets_and_quotas(study, "other_sources", source_counts(study, "other_sources"))
    if study.other_attacks:
        study.checked("other_sources.curve", Curve)


def _targets_and_quotas(study: Study, key: str, counts: Mapping[str, int]) -> None:
    """Whether so many originals of each class can be taken, towards so many targets, where the classes are known."""
    classes = sources.class_count(study.checked("images", Images))
    for name, count in counts.items():
        quota_of(count, classes or 1, study.where(f"{key}.{name}"))
    target_count(study, key, classes or MOST_CLASSES)


def _family(study: Study, key: str) -> None:
    defense = load_defense(study.method(key))
    learning_arguments(study, key, defense)
    if defense.learn is not None and (defense.chooses is not None or _replicated(study, key)):
        settled_arguments(study, key, defense, _to_be_chosen(study, key, defense, _admitted(defense.learn)))
    predicted = _admitted(defense.predict)
    for name in study.family(key)[1:]:
        with _said_of(study, f"defenses.{key}.variants.{name}"):
            variant = load_defense(study.method(key, name))
            _learned_role(study, key, name, defense)
        predicted |= {f"{name}.{parameter}": value for parameter, value in _admitted(variant.predict).items()}
    for _ in members_of(study, key, _to_be_chosen(study, key, defense, predicted)):
        pass
    if defense.examine is not None:
        examined = _to_be_chosen(study, key, defense, _admitted(defense.examine))
        examining_arguments(study, key, defense, examined)
    elif study.has(f"defenses.{key}.examine"):
        where = study.where(f"defenses.{key}.examine")
        raise PipelineError(f"{where}: no stage reads it: {study.method(key)} has nothing more to measure")


def _learned_role(study: Study, key: str, name: str, defense: Defense) -> None:
    """Whether the model that a variant takes is one that its family learns, where the defense says which these are."""
    role = study.block(f"defenses.{key}.variants.{name}").get("learned")
    roles = () if defense.learn is None else defense.roles
    if role is not None and roles is not None and role not in roles:
        where = study.where(f"defenses.{key}.variants.{name}.learned")
        known = f"one of: {', '.join(roles)}" if roles else f"none, for {study.method(key)} learns no further model"
        raise PipelineError(f"{where}: expected {known}; found {role!r}")


def _to_be_chosen(study: Study, key: str, defense: Defense, admitted: dict[str, Any]) -> dict[str, Any]:
    """Of the admitted values by parameter those that the family's rules will choose."""
    chooses = {} if defense.learn is None else defense.chooses
    if chooses is None:
        return admitted
    tried = study.block(f"defenses.{key}.learn")
    return {name: admitted[name] for name, by in chooses.items() if tried.get(by) and name in admitted}


def _admitted(function: Callable[..., Any]) -> dict[str, Any]:
    """A value that each parameter may have, those of blocks within blocks too."""
    found: dict[str, Any] = {}
    for name, (annotation, _) in parameters_of(function).items():
        if (value := _value_of(annotation)) is not None:
            found[name] = value
        for part in (annotation, *typing.get_args(annotation)):
            if isinstance(part, type) and is_dataclass(part):
                found |= _admitted(part)
    return found


def _value_of(annotation: Any) -> Any:
    """One that the annotation admits, None if it is not one number or word."""
    parts = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        ranges = [part for part in parts if isinstance(part, Range)]
        if ranges and isfinite(ranges[0].high):
            return ranges[0].high
        return ranges[0].low + 1 if ranges else _value_of(parts[0])
    if origin is typing.Literal:
        return next((part for part in parts if part != AUTO), None)
    if origin in UNIONS:
        return next((value for part in parts if (value := _value_of(part)) is not None), None)
    return {int: 1, float: 1.0, bool: True, str: ""}.get(annotation)


def _replicated(study: Study, key: str) -> bool:
    """Whether a defense of the family is judged again."""
    return bool(count_of(study)) and not {"undefended", *wanted_of(study)}.isdisjoint(study.family(key))


def _adaptive(study: Study) -> None:
    settings = {
        name: vars(settings_of(study, name, load_defense(study.method(key, name)).randomized))
        for key in study.families
        for name in study.family(key)
    }
    check_same_budget(settings, study.where("adaptive"))


def _replicates(study: Study) -> None:
    if count_of(study):
        with suppress(LeftOut):
            network_of(study)
            study.training(fit_classifier, "classifier.training")
            _targets_and_quotas(study, "replicates.sources", judged_counts(study, "replicates.sources"))
            wanted_of(study)


@contextmanager
def _said_of(study: Study, key: str) -> Iterator[None]:
    """A message that names no place in the params file is of this one."""
    try:
        yield
    except LeftOut:
        raise
    except PipelineError as error:
        if str(error).startswith(str(study.file)):
            raise
        raise PipelineError(f"{study.where(key)}: {error}") from None
