"""A study's params file -> checked arguments. The only reader of YAML.

The schema of a block is the signature of the function that takes it: its keyword-only parameters are the keys, their
annotations the types and ranges; a nested block is a dataclass. pydantic checks a block against the model made of that
signature. So a new attack or defense is one function and one block, and this file does not change (nor, with it, every
stage that depends on it).
"""

import dataclasses
import inspect
import io
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Strict, TypeAdapter, ValidationError, create_model
from pydantic.types import AllowInfNan
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from pipeline.errors import PipelineError
from pipeline.ranges import Range

UNIONS = (types.UnionType, typing.Union)  # int | None, Annotated[int, ...] | None
AUTO = "auto"  # a number that a rule chooses on validation images


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file at `path`. Raises PipelineError if the file is missing, no YAML or no mapping."""
    try:
        # YAML 1.2 as DVC parses it: PyYAML (YAML 1.1) would read 1e-3 as a string.
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        key = _no_text(tree)
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file") from None
    except (YAMLError, ValueError, KeyError, RecursionError) as error:  # but for the first: what a tag makes of a value
        raise PipelineError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, Mapping):
        raise PipelineError(f"{path}: expected a mapping of blocks, found {tree!r}")
    if key:
        raise PipelineError(f"{path}: expected texts as keys, found {key[0]!r}")
    return dict(tree)


def _no_text(tree: Any) -> list[Any]:
    """The keys at any depth that are no text."""
    if isinstance(tree, Mapping):
        return [key for key in tree if not isinstance(key, str)] + _no_text(list(tree.values()))
    return [key for entry in tree for key in _no_text(entry)] if isinstance(tree, list) else []


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """The text of a params file, comments and all, with other values at some dotted keys, whose blocks must be there.

    A block is replaced whole. A list is written in one line.
    """
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1000
    tree = yaml.load(text)
    for key, value in values.items():
        *path, last = key.split(".")
        block = tree
        for part in path:
            block = block[part]
        block[last] = _flow(value)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _flow(value: Any) -> Any:
    if isinstance(value, Mapping):
        return CommentedMap({name: _flow(entry) for name, entry in value.items()})
    if isinstance(value, list | tuple):
        found = CommentedSeq(value)
        found.fa.set_flow_style()
        return found
    return value


def block_at(tree: Any, key: str, path: Path) -> Any:
    """Value at the dotted `key` ("attacks.minimal") of what was read from `path`.

    Raises PipelineError if a part of the key is not in it.
    """
    at = ""
    for part in key.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            known = ", ".join(map(str, tree)) if isinstance(tree, Mapping) else repr(tree)
            raise PipelineError(f"{path}: no '{part}' in {at or 'the file'}: expected one of: {known}")
        tree = tree[part]
        at = f"{at}.{part}" if at else part
    return tree


def arguments_for(function: Callable[..., Any], block: Any, where: str) -> dict[str, Any]:
    """Keyword arguments of `function` from a params block, each checked for type and range.

    Only the function's keyword-only parameters count; a block must give each of them that has no default, and nothing
    else. `where` names the block in messages.

    Raises PipelineError naming the parameter, what was expected and what was found.
    """
    if not isinstance(block, Mapping):
        raise PipelineError(f"{where}: expected a block of parameters, found {block!r}")
    declared = parameters_of(function)
    for name in block:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise PipelineError(f"{where}.{name}: unknown parameter; expected one of: {known}")
    arguments = {}
    for name, (annotation, default) in declared.items():
        if name in block:
            arguments[name] = check_value(block[name], annotation, f"{where}.{name}")
        elif default is inspect.Parameter.empty:
            raise PipelineError(f"{where}.{name}: missing; expected {describe(annotation)}")
    return arguments


def parameters_of(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Name -> (annotation, default) of each keyword-only parameter of `function`, or of a dataclass's fields."""
    if dataclasses.is_dataclass(function):
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
        keyword_only = [name for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
        return {name: (hints[name], parameters[name].default) for name in keyword_only or parameters}
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target, include_extras=True)
    signature = inspect.signature(target).parameters
    names = [name for name, parameter in signature.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    if bare := [name for name in names if name not in hints]:
        raise PipelineError(f"{function.__module__}.{function.__name__}: expected a type of {bare[0]!r}, found none")
    return {name: (hints[name], signature[name].default) for name in names}


def check_value(value: Any, annotation: Any, where: str) -> Any:
    """`value` if it fits `annotation` (an int serves as a float; a dataclass takes a block), else PipelineError."""
    try:
        return _rebuilt(_adapter(annotation).validate_python(value), annotation)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [part for part in first["loc"] if isinstance(part, int) or not _names_a_branch(str(part))]
        at = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
        expected = _annotation_at(annotation, parts)
        if first["type"] == "missing":
            raise PipelineError(f"{at}: missing; expected {describe(expected)}") from None
        if first["type"] == "extra_forbidden":
            known = ", ".join(parameters_of(_dataclass_of(_annotation_at(annotation, parts[:-1]))))
            raise PipelineError(f"{at}: unknown parameter; expected one of: {known}") from None
        if first["type"] == "too_short":
            item = describe(typing.get_args(_list_of(expected))[0])
            words = item.removeprefix("a ").removeprefix("one ")
            raise PipelineError(f"{at}: expected at least one {words}, found []") from None
        found = value
        for part in parts:
            found = found[part]
        raise PipelineError(f"{at}: expected {describe(expected)}, found {found!r}") from None


def describe(annotation: Any) -> str:
    """An annotation in words, for messages."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        base, *extras = typing.get_args(annotation)
        ranges = [str(extra) for extra in extras if isinstance(extra, Range)]
        return " in ".join([describe(base), *ranges])
    if origin is tuple or origin is list:
        return f"a list of {describe(typing.get_args(annotation)[0])}"
    if origin is Literal:
        values = typing.get_args(annotation)
        return " or ".join(map(repr, values)) if len(values) < 2 else f"one of {', '.join(map(repr, values))}"
    if origin in UNIONS:
        return " or ".join(describe(part) for part in typing.get_args(annotation) if part is not types.NoneType)
    if origin is dict or annotation is dict or _is_block(annotation):
        return "a block"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(
        annotation, str(annotation)
    )


def model_of(function: Callable[..., Any], *, auto: bool = False, optional: bool = False) -> type[BaseModel]:
    """The pydantic model of a block: a field per keyword-only parameter (of a dataclass: per field), and no other.

    optional : a field may be left out though the function has no default for it: it has one elsewhere in the file.
    """
    fields: dict[str, Any] = {}
    for name, (annotation, default) in parameters_of(function).items():
        checked = _checked(annotation, auto=auto, optional=optional)
        required = default is inspect.Parameter.empty and not optional
        fields[name] = (checked, ... if required else None)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return create_model(getattr(function, "__name__", "block"), __config__=config, **fields)


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_checked(annotation))


def _checked(annotation: Any, *, auto: bool = False, optional: bool = False) -> Any:
    """The annotation as pydantic checks it: no text as a number, no true as 1, no NaN, blocks as models."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        base, *extras = typing.get_args(annotation)
        checked = _checked(base)
        for extra in extras:
            if isinstance(extra, Range):
                checked = Annotated[checked, extra]
        return checked | Literal["auto"] if auto and base in (int, float) else checked
    if origin is tuple or origin is list:
        item = _checked(typing.get_args(annotation)[0], auto=auto)
        return Annotated[list[item], _NotEmpty()]  # type: ignore[valid-type]
    if origin in UNIONS:
        return typing.Union[tuple(_checked(part, auto=auto, optional=optional) for part in typing.get_args(annotation))]  # noqa: UP007
    if _is_block(annotation):
        return model_of(annotation, auto=auto, optional=optional)
    if annotation is float:
        number = Annotated[float, Strict(), AllowInfNan(False)]
        return number | Literal["auto"] if auto else number
    if annotation is int:
        whole = Annotated[int, Strict()]
        return whole | Literal["auto"] if auto else whole
    if annotation in (bool, str):
        return Annotated[annotation, Strict()]
    return annotation


class _NotEmpty:
    """A list without entries is refused."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        schema["min_length"] = 1
        schema["strict"] = True
        return schema


def _rebuilt(value: Any, annotation: Any) -> Any:
    """A validated value with tuples and dataclasses where the annotation says so."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _rebuilt(value, typing.get_args(annotation)[0])
    if origin is tuple or origin is list:
        item = typing.get_args(annotation)[0]
        return origin(_rebuilt(entry, item) for entry in value)
    if origin in UNIONS:
        for part in typing.get_args(annotation):
            if isinstance(value, BaseModel) and not _is_block(part):
                continue
            if isinstance(value, list) and typing.get_origin(part) not in (tuple, list):
                continue
            if part is types.NoneType or (isinstance(value, str) and typing.get_origin(part) is not Literal):
                continue
            return _rebuilt(value, part)
        return value
    if _is_block(annotation) and isinstance(value, BaseModel):
        declared = parameters_of(annotation)
        given = {name: getattr(value, name) for name in value.model_fields_set}
        return annotation(**{name: _rebuilt(entry, declared[name][0]) for name, entry in given.items()})
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _is_block(annotation: Any) -> bool:
    return inspect.isclass(annotation) and dataclasses.is_dataclass(annotation)


def _dataclass_of(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (*UNIONS, Annotated):
        return next(part for part in typing.get_args(annotation) if _is_block(part))
    return annotation


def _annotation_at(annotation: Any, parts: list[Any]) -> Any:
    """The annotation of the value at this place inside a value of `annotation`."""
    for part in parts:
        if typing.get_origin(annotation) is Annotated:
            annotation = typing.get_args(annotation)[0]
        if isinstance(part, int):
            annotation = typing.get_args(_list_of(annotation))[0]
        elif typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
        else:
            declared = parameters_of(_dataclass_of(annotation))
            annotation = declared[part][0] if part in declared else annotation
    return annotation


def _list_of(annotation: Any) -> Any:
    """The annotation of a list, out of the union that it may be in."""
    return next(a for a in (annotation, *typing.get_args(annotation)) if typing.get_origin(a) in (tuple, list))


def _names_a_branch(part: str) -> bool:
    """Whether a piece of pydantic's location is no key of the block but a branch of a union ("constrained-float")."""
    return not part.isidentifier() or part in ("int", "float", "str", "bool", "list", "none")
