"""JSON Schema of a study's params file, for editors: made of the signatures that the stages check it by."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.artifacts.outside import Given
from pipeline.artifacts.raw.wanted import Images
from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings
from pipeline.attacks.shared.protocol import load_attack
from pipeline.defenses.protocol import load_defense
from pipeline.own_files import Elsewhere
from pipeline.params import model_of
from pipeline.registry import IMPORTED, classifier_kinds
from pipeline.stages.choose_steps import AttackTrials
from pipeline.study_blocks import BLOCKS, INNER, PAPER_ATTACKS, Budgets
from pipeline.training.classifier import fit_classifier

HERE = Path(__file__).parent
NUMBER = {"type": "integer", "minimum": 0}
TARGETS = {"anyOf": [{"type": "string", "const": "all"}, {"type": "integer", "minimum": 1}]}


def schema_text() -> str:
    """The schema, indented, keys in the params file's order."""
    training = _block(fit_classifier, optional=True)
    attacks = {name: load_attack(name) for name in _files("attacks")}
    targeted = {name: _block(attack.run, optional=True) for name, attack in attacks.items() if attack.targeted}
    others = {name: block for name, block in targeted.items() if name not in PAPER_ATTACKS}
    others[IMPORTED] = _block(Elsewhere)
    blocks: dict[str, Any] = {
        "study": {"type": "string", "pattern": "^[a-z0-9_-]+$", "description": "the folder's name"},
        "seed": NUMBER,
        "images": _block(Images),
        "classifier": _classifier(training),
        "training": training,
        "sources": _object({"train": NUMBER, "test": NUMBER, "targets": TARGETS}),
        "threat": _object({norm: _block(Budgets) for norm in INNER["threat"]}),
        "attack_trials": _block(AttackTrials),
        "attacks": _object({name: targeted[name] for name in PAPER_ATTACKS}),
        "other_sources": _object({"train": NUMBER, "test": NUMBER, "curve": NUMBER, "targets": TARGETS}),
        "other_attacks": _files_of(others),
        "defenses": _files_of(_defenses()),
        "adaptive": {"type": "object", "additionalProperties": _block(AdaptiveSettings, optional=True)},
        "replicates": _object(
            {
                "count": {"type": "integer", "minimum": 0},
                "sources": _object({"train": NUMBER, "test": NUMBER, "targets": TARGETS}),
                "defenses": {"type": "array", "items": {"type": "string"}},
            }
        ),
        "sizes": _object(
            {
                "classifiers": {"type": "object", "additionalProperties": {"type": "object"}},
                "training": training,
                "originals": NUMBER,
                "targets": TARGETS,
            }
        ),
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Params of a study",
        **_object(blocks),
        "required": list(BLOCKS),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _classifier(training: dict[str, Any]) -> dict[str, Any]:
    """Of a kind that the study trains, or one that it brings."""
    kinds = classifier_kinds()
    given = _block(Given)["properties"]
    return _object(
        {
            "kind": {"type": "string", "enum": list(kinds)},
            "architecture": {"anyOf": [_block(kind) for kind in kinds.values()]},
            **{name: given[name] for name in given if name != "training"},
            "training": training,
        }
    )


def _defenses() -> dict[str, Any]:
    found = {}
    for name in _files("defenses"):
        defense = load_defense(name)
        parts = {"learn": defense.learn, "predict": defense.predict, "examine": defense.examine}
        blocks = {part: _block(function, optional=True) for part, function in parts.items() if function is not None}
        found[name] = {
            "type": "object",
            "properties": {"variants": {"type": "object"}, **blocks},
        }
    return found


def _files_of(blocks: dict[str, Any]) -> dict[str, Any]:
    """Blocks each of which is for the file that its key names, unless a `method` in it names another."""
    inner = {name: {"type": "object", "if": {"required": ["method"]}, "else": block} for name, block in blocks.items()}
    return {"type": "object", "properties": inner, "additionalProperties": {"type": "object"}}


def _files(room: str) -> list[str]:
    """Attacks or defenses: the files of a room that hold one."""
    word = f"{room[:-1]} = {room[:-1].capitalize()}("
    paths = [path for path in sorted((HERE / room).glob("*.py")) if path.stem not in ("__init__", "protocol")]
    return [path.stem for path in paths if word in path.read_text(encoding="utf-8")]


def _block(function: Callable[..., Any], optional: bool = False) -> dict[str, Any]:
    return _inlined(model_of(function, auto=True, optional=optional).model_json_schema())


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without `$defs`: each block where it is used."""
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return resolve(dict(definitions[value["$ref"].rpartition("/")[2]]))
            return {
                key: resolve(entry)
                for key, entry in value.items()
                if not (key == "title" and isinstance(entry, str)) and not (key == "default" and entry is None)
            }
        return [resolve(entry) for entry in value] if isinstance(value, list) else value

    found: dict[str, Any] = resolve(schema)
    return found


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}
