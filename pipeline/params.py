"""params.yaml -> range-checked keyword arguments. The only reader of YAML.

The schema of a block is the signature of the function that takes it: its keyword-only parameters
are the keys, their annotations the types and ranges. So a new attack or defense is one function and
one block, and this file does not change (nor, with it, every stage that depends on it).
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import PipelineError
from pipeline.ranges import Range

UNIONS = (types.UnionType, typing.Union)  # int | None, Annotated[int, ...] | None


def read_block(path: Path, key: str) -> Any:
    """Value at the dotted `key` ("attacks.minimal.mnist") of the YAML file at `path`.

    Raises PipelineError if the file is missing or no YAML, or if a part of the key is not in it.
    """
    try:
        # YAML 1.2 as DVC parses it: PyYAML (YAML 1.1) would read 1e-3 as a string.
        tree = YAML(typ="safe").load(path.read_text())
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; run from the project's root or pass --params") from None
    except YAMLError as error:
        raise PipelineError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
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

    Only the function's keyword-only parameters count; a block must give each of them that has no
    default, and nothing else. `where` names the block in messages.

    Raises PipelineError naming the parameter, what was expected and what was found.
    """
    if not isinstance(block, Mapping):
        raise PipelineError(f"{where}: expected a block of parameters, found {block!r}")
    declared = parameters_of(function)
    for name in block:
        if name not in declared:
            raise PipelineError(f"{where}.{name}: unknown parameter; expected one of: {', '.join(declared)}")
    arguments = {}
    for name, (annotation, default) in declared.items():
        if name in block:
            arguments[name] = check_value(block[name], annotation, f"{where}.{name}")
        elif default is inspect.Parameter.empty:
            raise PipelineError(f"{where}.{name}: missing; expected {describe(annotation)}")
    return arguments


def parameters_of(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Name -> (annotation, default) of each keyword-only parameter of `function`."""
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target, include_extras=True)
    return {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def describe(annotation: Any) -> str:
    """An annotation in words, for messages."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        base, *extras = typing.get_args(annotation)
        ranges = [str(extra) for extra in extras if isinstance(extra, Range)]
        return " in ".join([describe(base), *ranges])
    if origin is tuple or origin is list:
        return f"a list of {describe(typing.get_args(annotation)[0])}"
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(annotation)))}"
    if origin in UNIONS:
        return " or ".join(describe(part) for part in typing.get_args(annotation) if part is not types.NoneType)
    if origin is dict:
        return "a block"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(
        annotation, str(annotation)
    )


def check_value(value: Any, annotation: Any, where: str) -> Any:
    """`value` if it fits `annotation` (an int also serves as a float), else PipelineError."""
    expected = describe(annotation)
    wrong = PipelineError(f"{where}: expected {expected}, found {value!r}")
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        base, *extras = typing.get_args(annotation)
        checked = check_value(value, base, where)
        if any(isinstance(extra, Range) and checked not in extra for extra in extras):
            raise wrong
        return checked
    if origin is tuple or origin is list:
        if not isinstance(value, list) or not value:
            raise wrong
        item = typing.get_args(annotation)[0]
        return origin(check_value(entry, item, f"{where}[{i}]") for i, entry in enumerate(value))
    if origin is typing.Literal:
        if value not in typing.get_args(annotation):
            raise wrong
        return value
    if origin in UNIONS:  # with None, which stands for "left out" and is not written
        annotation, _ = typing.get_args(annotation)
        return check_value(value, annotation, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise wrong
        return dict(value)
    if annotation is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise wrong
        return float(value)
    if annotation is int and isinstance(value, bool):
        raise wrong
    if not isinstance(value, annotation):
        raise wrong
    return value
