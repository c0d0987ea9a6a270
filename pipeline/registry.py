"""Attacks and defenses by name: a file, and in it an `attack` or a `defense`."""

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.attacks.shared.protocol import Attack
    from pipeline.defenses.protocol import Defense

Kind = TypeVar("Kind")


def load_attack(name: str) -> "Attack":
    """The attack of the file `pipeline/attacks/<name>.py`.

    Raises PipelineError if there is none, or if a package that it imports is missing.
    """
    from pipeline.attacks.shared.protocol import Attack  # PyTorch, which not everyone who reads names needs

    attack = _loaded("attacks", name, Attack)
    if attack.name != name:
        where = f"pipeline/attacks/{name}.py"
        raise PipelineError(f"{where}: expected a function '{name}' to be run, found '{attack.name}'")
    return attack


def load_defense(name: str) -> "Defense":
    """The defense of the file `pipeline/defenses/<name>.py`. Raises PipelineError if there is none."""
    from pipeline.defenses.protocol import Defense

    return _loaded("defenses", name, Defense)


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


def _loaded(room: str, name: str, kind: type[Kind]) -> Kind:
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
