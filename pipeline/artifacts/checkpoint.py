"""`data/classifiers/<dataset>.safetensors`: weights, and the architecture's arguments as metadata."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.artifacts.storage import canonical_json, replacing
from pipeline.errors import PipelineError
from pipeline.models.classifier import Classifier


def save_classifier(path: Path, model: Classifier) -> None:
    """Write the weights, contiguous and on the CPU; no pickle, no time, same weights same bytes."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as part:
        # One metadata key only: safetensors keeps several in an unordered map.
        save_file(weights, part, metadata={"architecture": canonical_json(model.architecture)})


def load_classifier(path: Path | str) -> nn.Module:
    """The classifier at `path` in evaluation mode: images in [0, 1] in, logits out.

    Raises PipelineError if the file is missing, no safetensors file, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise PipelineError(f"{path}: no such file; expected a trained classifier: run dvc repro")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PipelineError(f"{path}: expected a safetensors file: {' '.join(str(error).split())}") from None
    try:
        architecture = json.loads(metadata["architecture"])
        shape, classes = architecture.pop("input_shape"), architecture.pop("class_count")
        model = Classifier(tuple(shape), classes, **architecture)
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise PipelineError(f"{path}: expected a classifier's weights and architecture: {reason}") from None
    return model.eval()
