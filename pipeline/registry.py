"""Attacks, defenses and kinds of classifiers by name: a file, and in it an `attack`, a `defense` or a `model`.

A study's own file `studies/<study>/<name>.py` serves as one of `pipeline/attacks` or `pipeline/defenses` does.
"""

import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Literal, TypeVar

from pipeline.errors import PipelineError

Kind = TypeVar("Kind")
IMPORTED = "imported"  # in place of an attack's file: the images were made elsewhere
_own: list[Path] = []  # the folder of the study that this process works on, if it works on one


def serve_own_files(*folders: Path) -> None:
    """From now on the files of this study's folder serve beside those of the pipeline."""
    _own[:] = folders


def own_folders() -> tuple[Path, ...]:
    """The folder of the study whose files serve, if there is one."""
    return tuple(_own)


def load(room: Literal["attacks", "defenses", "models"], name: str, kind: type[Kind]) -> Kind:
    """What the file `pipeline/<room>/<name>.py`, or the study's own of that name, holds as `attack` or `defense`.

    Raises PipelineError if there is none, if there are both, or if a package that it imports is missing.
    """
    what, where = room[:-1], f"pipeline/{room}/{name}.py"
    own = next((folder for folder in _own if room != "models" and (folder / f"{name}.py").is_file()), None)
    ours = has_file(room, name)
    if own and ours:
        raise PipelineError(f"{own / name}.py: expected another name: {where} has it")
    if not own and not ours:
        mine = "".join(f" or {folder}/{name}.py" for folder in _own if room != "models")
        raise PipelineError(f"unknown {what} {name!r}: expected a file {where}{mine}")
    if own:
        where = f"{own / name}.py"
    try:
        module = own_module(own, name) if own else import_module(f"pipeline.{room}.{name}")
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("pipeline"):
            raise  # a mistake in the file
        raise PipelineError(f"{what} {name!r} needs the package {error.name}, which is not installed") from None
    except (Exception, SystemExit) as error:  # whatever somebody's file does when it is imported
        if not own or isinstance(error, PipelineError):
            raise
        raise PipelineError(f"{where}: importing it raised {type(error).__name__}: {error}") from error
    held = getattr(module, what, None)
    if not isinstance(held, kind):
        raise PipelineError(f"{where}: expected `{what} = {kind.__name__}(...)`, found {held!r}")
    return held


def has_file(room: Literal["attacks", "defenses", "models"], name: str) -> bool:
    """Whether there is a `pipeline/<room>/<name>.py`."""
    return bool(re.fullmatch("[a-z0-9_]+", name) and find_spec(f"pipeline.{room}.{name}"))


def own_sources() -> list[Path]:
    """The Python files of the study whose files serve."""
    return [path for folder in _own for path in sorted(folder.rglob("*.py"))]


def own_module(folder: Path, name: str) -> ModuleType:
    """A module of a study's own folder, by its dotted name; it may import others of that folder by theirs.

    Among all modules its name is made of its path, so that two studies may have files of one name, and that another
    process finds it when it is sent what stands in it.
    """
    first, dot, rest = name.partition(".")
    return import_module(f"{_PREFIX}{(folder / first).as_posix().encode().hex()}{dot}{rest}")


_PREFIX = "own_"


class _OwnFiles(MetaPathFinder):
    """Finds what `own_module` asks for; Python itself finds what is below a package."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        digits = fullname.removeprefix(_PREFIX)
        if digits == fullname or not re.fullmatch("(?:[0-9a-f]{2})+", digits):
            return None
        place = Path(bytes.fromhex(digits).decode()).absolute()
        if (folder := str(place.parent)) not in sys.path:
            sys.path.append(folder)  # behind all others: what is installed is not hidden from others
        if (inside := place / "__init__.py").is_file():
            return spec_from_file_location(fullname, inside, submodule_search_locations=[str(place)])
        if (file := place.with_suffix(".py")).is_file():
            return spec_from_file_location(fullname, file)
        spec = ModuleSpec(fullname, None, is_package=True)  # a folder of modules
        spec.submodule_search_locations = [str(place)]
        return spec


sys.meta_path.append(_OwnFiles())


def is_own(folder: Path, name: str) -> bool:
    """Whether the first part of a dotted name is a file or a package of the folder."""
    first = folder / name.partition(".")[0]
    return first.with_suffix(".py").is_file() or first.is_dir()


def classifier_kinds() -> dict[str, type[Any]]:
    """By the name of its file the class of each kind of classifier that a study can train."""
    package = import_module("pipeline.models")
    modules = {entry.name: import_module(f"pipeline.models.{entry.name}") for entry in iter_modules(package.__path__)}
    return {name: module.model for name, module in modules.items() if isinstance(getattr(module, "model", None), type)}


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
