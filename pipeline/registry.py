"""Attacks and defenses by name: a file, and in it an `attack`, or a function of the same name."""

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.attacks.shared.protocol import Attack


def load_attack(name: str) -> "Attack":
    """The attack of the file `pipeline/attacks/<name>.py`.

    Raises PipelineError if there is none, or if a package that it imports is missing.
    """
    from pipeline.attacks.shared.protocol import Attack  # PyTorch, which not everyone who reads names needs

    where = f"pipeline/attacks/{name}.py"
    if not re.fullmatch("[a-z0-9_]+", name) or find_spec(f"pipeline.attacks.{name}") is None:
        raise PipelineError(f"unknown attack {name!r}: expected a file {where}")
    try:
        module = import_module(f"pipeline.attacks.{name}")
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("pipeline"):
            raise  # a mistake in the file
        raise PipelineError(f"attack {name!r} needs the package {error.name}, which is not installed") from None
    attack = getattr(module, "attack", None)
    if not isinstance(attack, Attack):
        raise PipelineError(f"{where}: expected `attack = Attack(run={name}, ...)`, found {attack!r}")
    if attack.name != name:
        raise PipelineError(f"{where}: expected a function '{name}' to be run, found '{attack.name}'")
    return attack


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
