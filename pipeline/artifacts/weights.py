"""Safetensors files of ours: weights, and the architecture's arguments as JSON in the metadata."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.artifacts.storage import canonical_json, replacing
from pipeline.errors import PipelineError

Model = TypeVar("Model", bound=nn.Module)


def save_weights(path: Path, model: nn.Module, architecture: Mapping[str, Any]) -> None:
    """Write the weights, contiguous and on the CPU; no pickle, no time, same weights same bytes."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as part:
        # One metadata key only: safetensors keeps several in an unordered map.
        save_file(weights, part, metadata={"architecture": canonical_json(dict(architecture))})


def load_weights(path: Path, what: str, build: Callable[[dict[str, Any]], Model]) -> Model:
    """The model that `build` makes of the stored architecture, with the stored weights, in evaluation mode.

    Raises PipelineError if the file is missing, no safetensors file, or not one of `what`.
    """
    if not path.is_file():
        raise PipelineError(f"{path}: no such file; expected {what}: run dvc repro")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PipelineError(f"{path}: expected a safetensors file: {' '.join(str(error).split())}") from None
    try:
        model = build(json.loads(metadata["architecture"]))
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise PipelineError(f"{path}: expected the weights and architecture of {what}: {reason}") from None
    return model.eval()
