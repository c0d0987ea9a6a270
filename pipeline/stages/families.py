"""A family of defenses as the stages that let it learn, judge it and attack it need it."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.artifacts.choices import read_choices
from pipeline.artifacts.judging import Judged, Member
from pipeline.artifacts.learning import check_defended, is_attacked, load_trained
from pipeline.artifacts.materials import StudyMaterials
from pipeline.defenses.protocol import Defense, load_defense
from pipeline.models.inference import for_inference
from pipeline.params import check_value, parameters_of
from pipeline.stages.sets import Choices
from pipeline.studies import Study
from pipeline.study_blocks import PAPER_ATTACKS


@dataclass(frozen=True)
class Loaded:
    """One defense of a family: its key, its file, its parameters with "auto" replaced, and what it predicts with.

    models : by number of the training, if it has several, else 0. role : which of what its family has learned that is;
    None: nothing, it is the attacked classifier.
    """

    name: str
    defense: Defense
    arguments: dict[str, Any]
    models: dict[int, nn.Module]
    role: str | None

    @property
    def model(self) -> nn.Module:
        """That of the first training that did not fail."""
        return next(iter(self.models.values()))

    def judged(self) -> Judged:
        """It as a judge of images."""
        return Judged(self.name, partial(self.defense.predict, **self.arguments), self.models, self.defense.setting)


def materials_of(study: Study, key: str) -> StudyMaterials:
    """What the family learns from and is examined on."""
    return StudyMaterials(
        images=study.path("images"),
        classifier=study.path("classifier"),
        sets={attack: study.path(attack) for attack in PAPER_ATTACKS},
        source=study.source,
        key=key,
        seed=study.seed,
        device=study.device,
    )


def learning_arguments(
    study: Study, key: str, defense: Defense, block: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Arguments of `defense.learn`, from the family's block `learn`, or from another `block` in its place.

    What a block inside it leaves out, and its dataclass has as a field, comes from the study's `training`; `epsilon` of
    one that has a `norm` too, from the threat model.
    """
    where = f"defenses.{key}.learn"
    given = dict(study.value(where) if block is None else block)
    if defense.learn is None:
        return study.arguments(_nothing, where, given)
    for name, (annotation, _) in parameters_of(defense.learn).items():
        if dataclasses.is_dataclass(annotation) and isinstance(given.get(name, {}), Mapping):
            fields = parameters_of(annotation)  # type: ignore[arg-type]  # a class, as an annotation is
            block = study.defaults(annotation) | dict(given.get(name, {}))
            if {"norm", "epsilon"} <= set(fields) and "norm" in block:
                check_value(block["norm"], fields["norm"][0], study.where(f"{where}.{name}.norm"))
                block = {"epsilon": study.threat(block["norm"]).epsilon} | block
            if block or name in given:
                given[name] = block
    return study.arguments(defense.learn, where, given)


def settled_arguments(study: Study, key: str, defense: Defense, choices: Choices | None = None) -> dict[str, Any]:
    """`learning_arguments` with the numbers that the study's rules chose, at any depth, and nothing left to try.

    choices : in place of those, here and below.
    """
    choices, file = _chosen_or(study, key, choices)

    def settled(block: Mapping[str, Any], at: str) -> dict[str, Any]:
        inner = {n: settled(value, f"{at}.{n}") if isinstance(value, Mapping) else value for n, value in block.items()}
        return study.resolved(inner, at, choices, chosen_in=file)

    block = {name: value for name, value in study.value(f"defenses.{key}.learn").items() if name not in defense.tried}
    return learning_arguments(study, key, defense, settled(block, f"defenses.{key}.learn"))


def _nothing() -> None:
    """What a defense without `learn` takes: any parameter is refused."""


def members_of(study: Study, key: str, choices: Choices | None = None) -> Iterator[Member]:
    """The defense and its variants, as their blocks say them. Raises PipelineError where one is wrong."""
    choices, file = _chosen_or(study, key, choices)
    for name in study.family(key):
        own = name == key
        where = f"defenses.{key}.predict" if own else f"defenses.{key}.variants.{name}"
        stated = study.value(where)
        block = stated if own else {k: v for k, v in stated.items() if k not in ("learned", "method")}
        defense = load_defense(study.method(key, name))
        resolved = study.resolved(block, where, choices, "" if own else f"{name}.", file)
        arguments = study.arguments(defense.predict, where, resolved)
        role = defense.role if own else stated.get("learned", defense.role)
        yield Member(name, study.method(key, name), arguments, role)


def load_family(study: Study, key: str) -> Iterator[Loaded]:
    """The defense and its variants, one after the other. Raises PipelineError where a block is wrong."""
    paths = study.path("learned", key), study.path("learning", key), study.path("classifier")
    for member in members_of(study, key):
        defense = load_defense(member.method)
        models = load_trained(*paths, member.role)
        for model in models.values():
            part = "predict" if member.name == key else f"variants.{member.name}"
            check_defended(defense.predict, model, study.where(f"defenses.{key}.{part}"))
        ready = {number: for_inference(model, study.device) for number, model in models.items()}
        role = None if is_attacked(*paths[:2], member.role) else member.role
        yield Loaded(member.name, defense, dict(member.arguments), ready, role)


def primary_of(study: Study, key: str, defense: Defense) -> dict[str, str] | None:
    """The family's declared contrast, over the variant of that key or of that role; None if the study has neither."""
    if defense.primary is None:
        return None
    variants = study.value(f"defenses.{key}.variants")
    for name, block in variants.items():
        if defense.primary.over in (name, block.get("learned")):
            return {**defense.primary.as_dict(), "over": name}
    return None


def _chosen_or(study: Study, key: str, choices: Choices | None) -> tuple[Choices, Path | None]:
    """By parameter, or "<variant>.<parameter>", what the rules chose, and the file of it; or `choices`, of no file."""
    if choices is not None:
        return choices, None
    path = study.path("learning", key) / "choices.json"
    return {name: choice.value for name, choice in read_choices(path).items()}, path


def examining_arguments(study: Study, key: str, defense: Defense, choices: Choices | None = None) -> dict[str, Any]:
    """Arguments of `defense.examine`: from the block `examine`, else from `predict`, else from `learn`."""
    assert defense.examine is not None
    family, (choices, file) = study.value(f"defenses.{key}"), _chosen_or(study, key, choices)
    given: dict[str, Any] = {}
    for part in ("learn", "predict", "examine"):
        block = dict(study.block(f"defenses.{key}.{part}")) if part in family else {}
        if part != "examine":
            known = parameters_of(defense.examine)
            block = {name: value for name, value in block.items() if name in known}
        given |= study.resolved(block, f"defenses.{key}.{part}", choices, chosen_in=file)
    return study.arguments(defense.examine, f"defenses.{key}.examine", given)
