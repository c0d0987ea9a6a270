"""Safetensors files of ours: weights, and as JSON in the metadata which model they are of and its arguments."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from textwrap import shorten
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import models
from pipeline.artifacts.files import canonical_json, damaged, replacing, unreadable
from pipeline.artifacts.outside import builder, given_in
from pipeline.artifacts.tensors import writing_tensors
from pipeline.errors import PipelineError
from pipeline.models.outside import Outside
from pipeline.registry import own_module
from pipeline.studies import STUDIES
from pipeline.study_blocks import checked_name

Model = TypeVar("Model", bound=nn.Module)
DEFENSES = "pipeline.defenses."
NOTHING = "nothing"
LONGEST = 200  # letters of what PyTorch says of weights that do not fit


def save_model(path: Path, model: nn.Module) -> None:
    """Write the weights, contiguous and on the CPU; no pickle, no time, same weights same bytes.

    model : its `architecture` holds the arguments of its class. Of a class of a defense's own file, that is named too.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if len({value.untyped_storage().data_ptr() for value in weights.values()}) < len(
        weights
    ):  # tied: safetensors stores each once more
        weights = {name: value.clone() for name, value in weights.items()}
    kind = type(model)
    about = {"model": kind.__name__, **model.architecture}  # type: ignore[dict-item]
    if module := _module_of(kind):
        about["module"] = module
    with replacing(path) as part, writing_tensors(path):
        # One metadata key only: safetensors keeps several in an unordered map.
        save_file(weights, part, metadata={"architecture": canonical_json(about)})


def _module_of(kind: type[nn.Module]) -> str:
    """Where the class of a defense's own model stands: a module of the pipeline, or a file of a study."""
    if kind.__module__.startswith(DEFENSES):
        return kind.__module__
    file = import_module(kind.__module__).__file__
    studies = STUDIES.resolve()
    if file and Path(file).is_relative_to(studies):
        return (STUDIES / Path(file).relative_to(studies)).as_posix()
    return ""


def load_model(path: Path | str, what: str, kinds: Mapping[str, Callable[..., Model]]) -> Model:
    """The stored model, in evaluation mode; `kinds`: by the name of its class the class, or what builds it.

    Raises PipelineError if the file is missing, no safetensors file, or not one of `what`.
    """
    try:
        with _opened(path, what) as file:
            metadata = file.metadata() or {}
            weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        architecture: dict[str, Any] = json.loads(metadata["architecture"])
        architecture.pop("module", None)
        build = kinds[architecture.pop("model")]
        model = build(**{name: tuple(v) if isinstance(v, list) else v for name, v in architecture.items()})
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        found = shorten(str(error), LONGEST)
        raise damaged(
            path, f"expected the weights and architecture of {what}, found {type(error).__name__}: {found}"
        ) from None
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
        raise damaged(path, f"expected the weights and architecture of {what}, found no architecture") from None
    if name == NOTHING:
        return None
    return load_model(path, what, _kinds(name, module))


def rebuilt(*, study: str, arguments: dict[str, Any], input_shape: tuple[int, int, int], class_count: int) -> Outside:
    """A classifier that somebody else has made, as the params of its study say, still without its stored weights."""
    folder = STUDIES / checked_name(study, "study")
    given = given_in(folder)
    return builder(folder, given)(input_shape, class_count, **arguments)


def _kinds(name: str, module: str) -> dict[str, Callable[..., nn.Module]]:
    """The class of that name: in the defense's file if one is given, else in pipeline/models/."""
    if name == Outside.__name__ and not module:
        return {name: rebuilt}
    file = Path(module)
    if file.parts[:1] == STUDIES.parts and len(file.parts) == 3 and file.is_file():
        places = [own_module(file.parent, file.stem)]
    elif module:
        places = [import_module(module)] if module.startswith(DEFENSES) and find_spec(module) else []
    else:
        places = [import_module(f"{models.__name__}.{entry.name}") for entry in iter_modules(models.__path__)]
    found = (getattr(place, name, None) for place in places)
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, nn.Module)]
    return dict.fromkeys([name], kinds[0]) if kinds else {}


@contextmanager
def _opened(path: Path | str, what: str) -> Iterator[Any]:
    if not Path(path).is_file():
        raise PipelineError(f"{path}: no such file; expected {what}: run dvc repro")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise unreadable(path, f"a safetensors file ({what})", error) from None
