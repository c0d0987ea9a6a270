"""What every stage takes of a study's params file, asked of it before the first runs.

The stages read their numbers by the functions that are called here: what is refused is what they would refuse, in their
words, and nothing else. In place of a number that a rule will choose stands one that the parameter may have. What only
the images, the weights or a person's own code can tell is left to the stages.
"""

import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.artifacts.outside import given_classifier
from pipeline.artifacts.raw.wanted import Images
from pipeline.attacks import minimal
from pipeline.defenses.protocol import Defense, load_defense
from pipeline.errors import LeftOut, PipelineError
from pipeline.metrics.sources import quota_of
from pipeline.params import AUTO, parameters_of
from pipeline.ranges import Range
from pipeline.registry import IMPORTED
from pipeline.stages.attack import Curve, attack_of, method_of
from pipeline.stages.attack_defense import settings_of
from pipeline.stages.choose_steps import AttackTrials, StepSize
from pipeline.stages.families import examining_arguments, learning_arguments, members_of, settled_arguments
from pipeline.stages.replicates import count_of, counts_of, network_of, wanted_of
from pipeline.stages.sets import extended_arguments, minimal_arguments, source_counts, target_count
from pipeline.stages.sizes import asked_of
from pipeline.studies import Study
from pipeline.training.classifier import fit_classifier

KNOWN = {"digits": 10, "mnist": 10, "cifar10": 10}  # sources whose classes are known before the images are
MOST_CLASSES = 256


def rehearse(study: Study) -> None:
    """Ask every stage of the study for its arguments. Raises PipelineError at the first that is wrong."""
    _ = study.seed
    study.checked("images", Images)
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
        _balanced(study, "sizes", {"originals": originals})


def _classifier(study: Study) -> None:
    if not study.brings_classifier:
        study.arguments(study.kind, "classifier.architecture")
        study.training(fit_classifier, "classifier.training")
    elif given_classifier(study.file, study.block("classifier")).retrain:
        study.training(fit_classifier, "classifier.training")


def _paper_attacks(study: Study) -> None:
    study.checked("attack_trials", AttackTrials)
    _balanced(study, "attack_trials", {})
    if study.value("attacks.minimal.step_size") != AUTO:
        study.checked("attacks.minimal.step_size", StepSize)
    choices = {name: highest for name, highest in _highest(minimal.attack.run) if name == "step_size"}
    extended_arguments(study, minimal_arguments(study, choices), {**choices, "extra_steps": 1})
    _sources(study, "sources")


def _other_attacks(study: Study) -> None:
    for key in study.other_attacks:
        with _said_of(study, f"other_attacks.{key}"):
            if method_of(study, key) != IMPORTED:
                attack, _, _ = attack_of(study, key)
                with suppress(LeftOut):
                    attack.check(targeted=True, height=1, width=1)
    if study.other_attacks:
        _sources(study, "other_sources")
        study.checked("other_sources.curve", Curve)


def _sources(study: Study, key: str) -> None:
    _balanced(study, key, source_counts(study, key))


def _balanced(study: Study, key: str, counts: Mapping[str, int]) -> None:
    """Whether so many originals of each class can be taken, towards so many targets, where the classes are known."""
    named = study.block("images").get("class_names")
    classes = len(named) if named else KNOWN.get(study.source)
    for name, count in counts.items():
        quota_of(count, classes or 1, study.where(f"{key}.{name}"))
    target_count(study, key, classes or MOST_CLASSES)


def _family(study: Study, key: str) -> None:
    defense = load_defense(study.method(key))
    learning_arguments(study, key, defense)
    choices = _to_be_chosen(study, key, defense)
    if defense.learn is not None:
        settled_arguments(study, key, defense, choices)
    for _ in members_of(study, key, choices):
        pass
    if defense.examine is not None:
        examining_arguments(study, key, defense, choices)
    elif study.has(f"defenses.{key}.examine"):
        where = study.where(f"defenses.{key}.examine")
        raise PipelineError(f"{where}: no stage reads it: {study.method(key)} has nothing more to measure")


def _to_be_chosen(study: Study, key: str, defense: Defense) -> dict[str, float | None]:
    """For each number that the family's rules will choose one that it may have."""
    found: dict[str, float | None] = {}
    for function in filter(None, (defense.learn, defense.examine, defense.predict)):
        found |= _highest(function)
    for name in study.family(key)[1:]:
        variant = load_defense(study.method(key, name))
        found |= {f"{name}.{parameter}": highest for parameter, highest in _highest(variant.predict)}
    chooses = {} if defense.learn is None else defense.chooses
    if chooses is None:
        return found
    tried = study.block(f"defenses.{key}.learn")
    return {name: found.get(name) for name, by in chooses.items() if by in tried}


def _highest(function: Callable[..., Any]) -> Iterator[tuple[str, float]]:
    """The highest number that each parameter may have that is one number, those of blocks within blocks too."""
    for name, (annotation, _) in parameters_of(function).items():
        for part in [annotation, *typing.get_args(annotation)]:
            if isinstance(part, Range):
                yield name, part.high
            elif typing.get_origin(part) is typing.Annotated:
                yield from ((name, extra.high) for extra in typing.get_args(part) if isinstance(extra, Range))
            elif hasattr(part, "__dataclass_fields__"):
                yield from _highest(part)


def _adaptive(study: Study) -> None:
    norms: dict[str, Mapping[str, Any]] = {}
    for key in study.families:
        for name in study.family(key):
            settings = settings_of(study, name, load_defense(study.method(key, name)).randomized)
            norms[name] = {"norm": settings.norm, "budget": settings.budget}
    for name, found in norms.items():
        if found != norms["undefended"]:
            where = study.where(f"adaptive.{name}")
            raise PipelineError(f"{where}: expected undefended's {norms['undefended']}, found {found}")


def _replicates(study: Study) -> None:
    if count_of(study):
        with suppress(LeftOut):
            network_of(study)
            study.training(fit_classifier, "classifier.training")
            _balanced(study, "replicates.sources", counts_of(study))
            wanted_of(study)


@contextmanager
def _said_of(study: Study, key: str) -> Iterator[None]:
    """A message that names no place in the params file is of this one."""
    try:
        yield
    except PipelineError as error:
        if str(error).startswith(str(study.file)):
            raise
        raise PipelineError(f"{study.where(key)}: {error}") from None
