"""`data/classifiers/<dataset>.safetensors`: a trained classifier."""

from pathlib import Path
from typing import Any

from pipeline.artifacts.weights import load_weights, save_weights
from pipeline.models.classifier import Classifier


def save_classifier(path: Path, model: Classifier) -> None:
    """Write the weights and the architecture's arguments."""
    save_weights(path, model, model.architecture)


def load_classifier(path: Path | str) -> Classifier:
    """The classifier at `path` in evaluation mode: images in [0, 1] in, logits out.

    Raises PipelineError if the file is missing, no safetensors file, or not one of ours.
    """
    return load_weights(Path(path), "a trained classifier", _build)


def _build(architecture: dict[str, Any]) -> Classifier:
    shape, classes = architecture.pop("input_shape"), architecture.pop("class_count")
    return Classifier(tuple(shape), classes, **architecture)
