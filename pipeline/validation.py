"""A params file against the schema of params files: a wrong number is told before the first stage, not after hours.

What only the images or the classifier can tell is left to the stages, and so is a block whose file is the study's own.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from pipeline.errors import PipelineError
from pipeline.params import AUTO
from pipeline.registry import IMPORTED
from pipeline.studies import STUDIES, Study

SCHEMA = STUDIES / "params.schema.json"
WORDS = ("method", "learned")
KINDS = {
    "integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text",
    "object": "a block", "array": "a list",
}  # fmt: skip


def validate(study: Study, schema: Mapping[str, Any]) -> None:
    """Raises PipelineError at the first value that no stage would take. schema : what SCHEMA holds."""
    properties = schema["properties"]
    for key, value in study.params.items():
        if key not in ("other_attacks", "defenses"):
            _check(study, key, value, properties[key])
    for key, one, block in _attacks_and_defenses(study, properties):
        _check(study, key, {name: value for name, value in block.items() if name not in WORDS}, one)


def read_schema() -> dict[str, Any]:
    """The committed schema of params files."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


def _attacks_and_defenses(
    study: Study, properties: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Dotted key, schema and content of each block whose `method` is a file of the pipeline."""
    attacks, defenses = (properties[room]["properties"] for room in ("other_attacks", "defenses"))
    for key, method in _attacks(study):
        if method in attacks and method != IMPORTED:
            yield key, attacks[method], study.block(key)
    for family in study.families:
        parts = defenses.get(study.method(family), {}).get("properties", {})
        for part in ("learn", "predict", "examine"):
            if part in parts and study.has(f"defenses.{family}.{part}"):
                yield f"defenses.{family}.{part}", parts[part], study.block(f"defenses.{family}.{part}")
        for variant in study.family(family)[1:]:
            block, where = study.block(f"defenses.{family}.variants.{variant}"), f"defenses.{family}.variants.{variant}"
            parts = defenses.get(study.method(family, variant), {}).get("properties", {})
            if "predict" in parts:
                yield where, parts["predict"], block


def _attacks(study: Study) -> Iterator[tuple[str, str]]:
    """Dotted key and file of each attack but the paper's two; an adaptive one may be named in another part."""
    for name in study.other_attacks:
        yield f"other_attacks.{name}", study.block(f"other_attacks.{name}").get("method", name)
    parts = [f"adaptive.{part}" for part in study.block("adaptive")]
    for slot in ("ascent", "shortest"):
        blocks = {f"{part}.{slot}": study.block(f"{part}.{slot}") for part in parts if study.has(f"{part}.{slot}")}
        named = {block["method"] for block in blocks.values() if "method" in block}
        elsewhere = min(named) if len(named) == 1 else ""
        for key, block in blocks.items():
            yield key, block.get("method", elsewhere)
    for part in parts:
        for name, block in study.block(f"{part}.others").items() if study.has(f"{part}.others") else ():
            yield f"{part}.others.{name}", block.get("method", name)


def _check(study: Study, key: str, value: Any, schema: Mapping[str, Any]) -> None:
    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda error: list(map(str, error.path)))
    if not errors:
        return
    error = _innermost(errors[0])
    at = study.where(key) + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    )
    known = error.schema.get("properties", {})
    if error.validator == "additionalProperties":
        name = next(name for name in error.instance if name not in known)
        words = (
            f"unknown parameter; expected one of: {', '.join(known) or 'none'} (by {SCHEMA}: `make studies` writes it)"
        )
    elif error.validator == "required":
        name = next(name for name in error.validator_value if name not in error.instance)
        words = f"missing; expected {described(known[name])}"
    else:
        raise PipelineError(f"{at}: expected {described(error.schema)}, found {error.instance!r}")
    raise PipelineError(f"{at}.{name}: {words}")


def _innermost(error: ValidationError) -> ValidationError:
    """Of what was expected instead, where one of several was, the one that got farthest into a block or a list."""
    deeper = [_innermost(one) for one in error.context or [] if len(one.absolute_path) > len(error.absolute_path)]
    return max(deeper, key=lambda one: len(one.absolute_path), default=error)


def described(schema: Mapping[str, Any]) -> str:
    """What a schema expects, in words, for messages."""
    if "anyOf" in schema:
        said = [one for one in schema["anyOf"] if one.get("type") != "null" and one.get("const") != AUTO]
        return " or ".join(map(described, said))
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(map(repr, schema['enum']))}"
    words = KINDS[schema["type"]]
    if schema["type"] == "array":
        return f"a list of {described(schema['items'])}" if schema.get("items") else words
    low, high = schema.get("exclusiveMinimum", schema.get("minimum")), schema.get("maximum")
    if high is not None:
        return f"{words} in {'(' if 'exclusiveMinimum' in schema else '['}{low:g}, {high:g}]"
    return words if low is None else f"{words} of at least {low:g}"
