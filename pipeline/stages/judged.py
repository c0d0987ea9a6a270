"""A family's defenses as the stages that judge and attack them load them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from pipeline.artifacts.choices import read_choices
from pipeline.artifacts.judging import Judged
from pipeline.artifacts.learning import load_learned
from pipeline.defenses.protocol import Defense
from pipeline.models.inference import for_inference
from pipeline.registry import load_defense
from pipeline.studies import Study


@dataclass(frozen=True)
class Loaded:
    """One defense of a family: key, file, parameters with "auto" replaced, and what it predicts with."""

    name: str
    defense: Defense
    arguments: dict[str, Any]
    model: nn.Module

    def judged(self) -> Judged:
        return Judged(self.name, partial(self.defense.predict, **self.arguments), self.model, self.defense.setting)


def load_family(study: Study, key: str) -> Iterator[Loaded]:
    """The defense and its variants, one after the other. Raises PipelineError where a block is wrong."""
    names = study.family(key)
    choices = read_choices(study.path("learning", key) / "choices.json")
    for name in names:
        own = name == key
        where = f"defenses.{key}.predict" if own else f"defenses.{key}.variants.{name}"
        block = {k: v for k, v in study.value(where).items() if own or k not in ("learned", "method")}
        role = "" if own else study.value(where).get("learned", "")
        defense = load_defense(study.method(key, name))
        resolved = study.resolved(block, where, choices, "" if own else f"{name}.")
        arguments = study.arguments(defense.predict, where, resolved)
        model = load_learned(study.path("learned", key), study.path("learning", key), study.path("classifier"), role)
        yield Loaded(name, defense, arguments, for_inference(model, study.device))
