"""Defenses by name, and what a params block says of its attack; attacks: `attacks.shared.protocol.load_attack`."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

from pipeline.errors import PipelineError


def load_by_name(room: Literal["attacks", "defenses"], name: str) -> ModuleType:
    """The module `pipeline.<room>.<name>`. Raises PipelineError if it or its function is not there."""
    where = f"pipeline/{room}/{name}.py"
    try:
        module = import_module(f"pipeline.{room}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"pipeline.{room}.{name}":
            raise  # the file is there, but not what it imports
        raise PipelineError(f"unknown {room[:-1]} '{name}': expected a file {where}") from None
    if not hasattr(module, name):
        raise PipelineError(f"{where}: expected a function '{name}', found none")
    return module


def split_method(key: str, block: Any, where: str) -> tuple[str, dict[str, Any]]:
    """File name and arguments of the attack that a params block describes.

    The file is called like the block, unless `method` says otherwise: "pgd_linf", or "foolbox:<AttackName>", which
    hands the name on as the argument `name`. `budgets` is no argument of the attack, but of its curve.

    Raises PipelineError if the block is no mapping or `method` no text; `where` names the block.
    """
    if not isinstance(block, Mapping):
        raise PipelineError(f"{where}: expected a block of parameters, found {block!r}")
    arguments = {name: value for name, value in block.items() if name != "budgets"}
    method = arguments.pop("method", key)
    if not isinstance(method, str):
        raise PipelineError(f"{where}.method: expected a text, found {method!r}")
    file, colon, name = method.partition(":")
    return file, {"name": name, **arguments} if colon else arguments
