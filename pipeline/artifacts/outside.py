"""A classifier that somebody else has made: built by a function of theirs, with weights out of their file.

The module and the weights lie in the study's folder, or are installed. What builds it is read in the study's params and
nowhere else: a file of weights says which study's it is, but never which code is run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pipeline.errors import LeftOut, PipelineError
from pipeline.models.outside import Outside
from pipeline.params import arguments_for, block_at, read_yaml
from pipeline.ranges import Range
from pipeline.registry import is_own, own_module
from pipeline.studies import STUDIES
from pipeline.study_blocks import checked_name

SHOWN = 3  # keys that a message names
WRAPPERS = ("module.", "_orig_mod.")  # prefixes that DataParallel and torch.compile give every key
NESTED = ("state_dict", "model_state_dict", "model")  # where a checkpoint keeps a state_dict, if it has several
HOW_TO_SAVE = "save the weights alone: torch.save(model.state_dict(), file), or safetensors.torch.save_file"


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Of each channel, in the units of images in [0, 1]: (images - mean) / std is what the module is given."""

    mean: tuple[Annotated[float, Range(-1000, 1000)], ...]
    std: tuple[Annotated[float, Range(0, 1000, low_open=True)], ...]


@dataclass(frozen=True, kw_only=True)
class Given:
    """The block `classifier` of a study that brings its own.

    build : "package.module:function", which returns the module. arguments : its keyword arguments. weights : a file,
    from the study's folder, or where `build` is installed from that package's. normalization : before the module; None:
    it takes images in [0, 1]. retrain : whether other networks may be made by `build` and trained, by `training`.
    """

    build: str
    weights: str
    arguments: dict[str, Any] | None = None
    normalization: Scaling | None = None
    retrain: bool = False
    training: dict[str, Any] | None = None


def given_classifier(file: Path, block: Mapping[str, Any]) -> Given:
    """The block, checked; `file` is the study's params."""
    return Given(**arguments_for(Given, block, f"{file}: classifier"))


def given_in(folder: Path) -> Given:
    """What stands in the params of the study in this folder. Raises PipelineError if it brings no classifier."""
    file = folder / "params.yaml"
    block = block_at(read_yaml(file), "classifier", file)
    if not isinstance(block, Mapping) or "build" not in block:
        raise PipelineError(f"{file}: classifier.build: missing; expected what builds the classifier of this study")
    return given_classifier(file, block)


# --- what builds it -------------------------------------------------------------------------------------------------
def builder(folder: Path, given: Given) -> Callable[..., Outside]:
    """A function (input_shape, class_count, /, **arguments) -> Outside: the module as `build` returns it.

    folder : of the study; its name is the study's. Raises PipelineError if there is no such function.
    """
    where = f"{folder / 'params.yaml'}: classifier.build"
    module_name, _, name = given.build.partition(":")
    try:
        owned = is_own(folder, module_name)
        module = own_module(folder, module_name) if owned else import_module(module_name)
    except PipelineError:
        raise
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"{where}: {given.build!r} needs the module {error.name}, which is neither in {folder} nor installed"
        ) from None
    except (Exception, SystemExit) as error:  # whatever somebody's module does when it is imported
        raise PipelineError(f"{where}: importing {module_name!r} raised {_said(error)}") from None
    build = getattr(module, name, None)
    if not callable(build):
        raise PipelineError(f"{where}: expected a function {name!r} in {module_name}, found {build!r}")

    def new(input_shape: tuple[int, int, int], class_count: int, /, **arguments: Any) -> Outside:
        try:
            made = build(**arguments)
        except (Exception, SystemExit) as error:
            raise PipelineError(f"{where}: {given.build} raised {_said(error)}") from None
        if not isinstance(made, nn.Module):
            raise PipelineError(
                f"{where}: expected {given.build} to return a torch.nn.Module, found {type(made).__name__}"
            )
        if next(made.parameters(), None) is None:
            raise PipelineError(f"{where}: expected a module with weights, found none in {type(made).__name__}")
        if any(map(is_lazy, made.parameters())):
            raise PipelineError(
                f"{where}: expected a module that knows its shapes, found lazy layers: give it its widths"
            )
        made.float()  # as all that it will meet here
        about = {"study": folder.name, "input_shape": list(input_shape), "class_count": class_count}
        found = Outside(made, {**about, "arguments": arguments})
        if given.normalization:
            scale(found, given.normalization, where.replace("build", "normalization"))
        return found.eval()

    return new


def scale(model: Outside, scaling: Scaling, where: str) -> None:
    """Set its normalization. Raises PipelineError if it is not of as many channels."""
    channels = len(model.normalize.mean)
    for name in ("mean", "std"):
        values = getattr(scaling, name)
        if len(values) != channels:
            raise PipelineError(f"{where}.{name}: expected {channels} numbers, one a channel, found {len(values)}")
        getattr(model.normalize, name).copy_(torch.tensor(values).view(-1, 1, 1))


def retraining(folder: Path, given: Given) -> Callable[..., Outside]:
    """What makes another one, to be trained. Raises LeftOut where the study does not say that it may be."""
    if not given.retrain:
        raise LeftOut(
            "it trains the classifier's architecture anew, which is somebody else's here and is taken as it is "
            f"(classifier.retrain: true in {folder / 'params.yaml'} would allow it)"
        )
    return builder(folder, given)


def rebuilder(model: Outside) -> Callable[..., Outside]:
    """`retraining` of a classifier that was loaded."""
    folder = STUDIES / checked_name(model.architecture["study"], "study")
    return retraining(folder, given_in(folder))


# --- its weights ----------------------------------------------------------------------------------------------------
def read_weights(path: Path) -> dict[str, Tensor]:
    """The state_dict in a file: of safetensors, or of torch.save without any code in it; prefixes taken off.

    Raises PipelineError if there is none, or a weight is no number.
    """
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except SafetensorError as error:
        raise PipelineError(f"{path}: expected a safetensors file: {_said(error)}") from None
    except Exception as error:  # of the file's own content; an unpickling one is what `weights_only` refuses
        if type(error).__name__ == "UnpicklingError":
            raise PipelineError(
                f"{path}: expected a state_dict, found a pickle of other things (a whole model?), which could run any "
                f"code: {HOW_TO_SAVE}"
            ) from None
        said = f"found a TorchScript archive: {HOW_TO_SAVE}" if "TorchScript" in str(error) else _said(error)
        raise PipelineError(f"{path}: expected a state_dict by torch.save, or safetensors: {said}") from None
    weights = _state_dict(path, found)
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    wrong = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        raise PipelineError(f"{path}: expected finite weights, found NaN or infinity in {_some(wrong)}")
    return weights


def _state_dict(path: Path, found: Any) -> dict[str, Tensor]:
    if _is_state_dict(found):
        return dict(found)
    inner = {key: value for key, value in found.items() if _is_state_dict(value)} if isinstance(found, Mapping) else {}
    chosen = next((key for key in NESTED if key in inner), next(iter(inner)) if len(inner) == 1 else None)
    if chosen is None:
        if inner:
            raise PipelineError(f"{path}: expected one state_dict, found {', '.join(map(repr, inner))}: {HOW_TO_SAVE}")
        what = f"the keys {_some(list(found))}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise PipelineError(f"{path}: expected a state_dict, names to tensors, found {what}: {HOW_TO_SAVE}")
    return dict(inner[chosen])


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(part, Tensor) for part in value.values())


def put_weights(model: Outside, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load them into the module. Raises PipelineError that names the keys that do not fit."""
    own = model.module.state_dict()
    shapes = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in weights.items()
        if key in own and value.shape != own[key].shape
    ]
    missing, unexpected = [], [key for key in weights if key not in own]
    if not shapes:
        result = model.module.load_state_dict(dict(weights), strict=False)
        there = {own[key].data_ptr() for key in weights if key in own}
        missing = [key for key in result.missing_keys if own[key].data_ptr() not in there]  # but for tied weights
    found = {"of another shape": shapes, "missing": missing, "not of the model": unexpected}
    if any(found.values()):
        words = "; ".join(f"{what}: {_some(keys)}" for what, keys in found.items() if keys)
        raise PipelineError(f"{path}: expected the weights of the model that `build` returns; {words}")


def take_classifier(
    folder: Path, given: Given, weights: Path, input_shape: tuple[int, int, int], class_count: int
) -> Outside:
    """The classifier of a study as it is given, in evaluation mode, with its weights."""
    model = builder(folder, given)(input_shape, class_count, **(given.arguments or {}))
    put_weights(model, read_weights(weights), weights)
    return model.requires_grad_(False)


def _said(error: BaseException) -> str:
    """An exception in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _some(keys: list[Any]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(map(str, keys[:SHOWN])) + more
