"""Attacks and defenses by name: a file, and in it an `attack` or a `defense`."""

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from pipeline.errors import PipelineError

Kind = TypeVar("Kind")


def load(room: Literal["attacks", "defenses"], name: str, kind: type[Kind]) -> Kind:
    """What the file `pipeline/<room>/<name>.py` holds as `attack` or `defense`.

    Raises PipelineError if there is none, or if a package that it imports is missing.
    """
    what, where = room[:-1], f"pipeline/{room}/{name}.py"
    if not re.fullmatch("[a-z0-9_]+", name) or find_spec(f"pipeline.{room}.{name}") is None:
        raise PipelineError(f"unknown {what} {name!r}: expected a file {where}")
    try:
        module = import_module(f"pipeline.{room}.{name}")
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("pipeline"):
            raise  # a mistake in the file
        raise PipelineError(f"{what} {name!r} needs the package {error.name}, which is not installed") from None
    found = getattr(module, what, None)
    if not isinstance(found, kind):
        raise PipelineError(f"{where}: expected `{what} = {kind.__name__}(...)`, found {found!r}")
    return found


def split_method(key: str, block: Any, where: str) -> tuple[str, dict[str, Any]]:
    """File name and arguments of the attack that a params block describes.

    The file is called like the block, unless `method` says otherwise (`method: foolbox`).

    Raises PipelineError if the block is no mapping or `method` no text; `where` names the block.
    """
    if not isinstance(block, Mapping):
        raise PipelineError(f"{where}: expected a block of parameters, found {block!r}")
    arguments = dict(block)
    method = arguments.pop("method", key)
    if not isinstance(method, str):
        raise PipelineError(f"{where}.method: expected a text, found {method!r}")
    return method, arguments
