"""Safetensors files of ours: weights, and as JSON in the metadata which model they are of and its arguments."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import models
from pipeline.artifacts.files import canonical_json, replacing
from pipeline.errors import PipelineError

Model = TypeVar("Model", bound=nn.Module)
DEFENSES = "pipeline.defenses."
NOTHING = "nothing"


@contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """Inside the block safetensors' own error, such as of a full disk, becomes a PipelineError that names the file."""
    try:
        yield
    except SafetensorError as error:
        raise PipelineError(f"{path}: cannot be written: {' '.join(str(error).split())}") from None


def save_model(path: Path, model: nn.Module) -> None:
    """Write the weights, contiguous and on the CPU; no pickle, no time, same weights same bytes.

    model : its `architecture` holds the arguments of its class. Of a class of a defense's own file, that is named too.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    kind = type(model)
    about = {"model": kind.__name__, **model.architecture}  # type: ignore[dict-item]
    if kind.__module__.startswith(DEFENSES):
        about["module"] = kind.__module__
    with replacing(path) as part, writing_tensors(path):
        # One metadata key only: safetensors keeps several in an unordered map.
        save_file(weights, part, metadata={"architecture": canonical_json(about)})


def load_model(path: Path | str, what: str, *kinds: type[Model]) -> Model:
    """The stored model, in evaluation mode; its class is one of `kinds`.

    Raises PipelineError if the file is missing, no safetensors file, or not one of `what`.
    """
    try:
        with _opened(path, what) as file:
            metadata = file.metadata() or {}
            weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        architecture: dict[str, Any] = json.loads(metadata["architecture"])
        architecture.pop("module", None)
        build = {kind.__name__: kind for kind in kinds}[architecture.pop("model")]
        model = build(**{name: tuple(v) if isinstance(v, list) else v for name, v in architecture.items()})
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise PipelineError(f"{path}: expected the weights and architecture of {what}: {reason}") from None
    return model.eval()


def save_nothing(path: Path) -> None:
    """Write a file without weights: of a defense that has learned no model."""
    with replacing(path) as part, writing_tensors(path):
        save_file({}, part, metadata={"architecture": canonical_json({"model": NOTHING})})


def load_any(path: Path, what: str) -> nn.Module | None:
    """A model of any class of pipeline/models/ or of a defense's file, in evaluation mode; None: nothing was saved.

    Raises PipelineError as `load_model` does.
    """
    with _opened(path, what) as file:
        metadata = file.metadata() or {}
    try:
        architecture = json.loads(metadata["architecture"])
        name, module = architecture["model"], architecture.get("module", "")
    except (KeyError, TypeError, ValueError):
        raise PipelineError(f"{path}: expected the weights and architecture of {what}, found no architecture") from None
    if name == NOTHING:
        return None
    return load_model(path, what, *_kinds(name, module))


def _kinds(name: str, module: str) -> list[type[nn.Module]]:
    """The classes of that name: in the defense's file if one is given, else in pipeline/models/."""
    names = [f"{models.__name__}.{entry.name}" for entry in iter_modules(models.__path__)]
    if module:
        names = [module] if module.startswith(DEFENSES) and find_spec(module) else []
    found = (getattr(import_module(entry), name, None) for entry in names)
    return [kind for kind in dict.fromkeys(found) if isinstance(kind, type) and issubclass(kind, nn.Module)]


@contextmanager
def _opened(path: Path | str, what: str) -> Iterator[Any]:
    if not Path(path).is_file():
        raise PipelineError(f"{path}: no such file; expected {what}: run dvc repro")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise PipelineError(f"{path}: expected a safetensors file: {' '.join(str(error).split())}") from None
