"""Safetensors files of ours: weights, and as JSON in the metadata which model they are of and its arguments."""

import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.artifacts.storage import canonical_json, replacing
from pipeline.errors import PipelineError

Model = TypeVar("Model", bound=nn.Module)


def save_model(path: Path, model: nn.Module) -> None:
    """Write the weights, contiguous and on the CPU; no pickle, no time, same weights same bytes.

    model : its `architecture` holds the arguments of its class.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    about = {"model": type(model).__name__, **model.architecture}  # type: ignore[dict-item]
    with replacing(path) as part:
        # One metadata key only: safetensors keeps several in an unordered map.
        save_file(weights, part, metadata={"architecture": canonical_json(about)})


def load_model(path: Path | str, what: str, *kinds: type[Model]) -> Model:
    """The stored model, in evaluation mode; its class is one of `kinds`.

    Raises PipelineError if the file is missing, no safetensors file, or not one of `what`.
    """
    if not Path(path).is_file():
        raise PipelineError(f"{path}: no such file; expected {what}: run dvc repro")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PipelineError(f"{path}: expected a safetensors file: {' '.join(str(error).split())}") from None
    try:
        architecture: dict[str, Any] = json.loads(metadata["architecture"])
        build = {kind.__name__: kind for kind in kinds}[architecture.pop("model")]
        model = build(**{name: tuple(v) if isinstance(v, list) else v for name, v in architecture.items()})
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise PipelineError(f"{path}: expected the weights and architecture of {what}: {reason}") from None
    return model.eval()
