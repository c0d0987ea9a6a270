"""`data/defenses/<dataset>/<defense>.safetensors`: what a defense has learned."""

from pathlib import Path
from typing import Any

from torch import nn

from pipeline.artifacts.weights import load_weights, save_weights
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier


def save_autoencoder(path: Path, model: Autoencoder) -> None:
    """Write the weights and the architecture's arguments."""
    save_weights(path, model, model.architecture)


def load_autoencoder(path: Path | str) -> Autoencoder:
    """The autoencoder at `path` in evaluation mode: images in [0, 1] to images in [0, 1].

    Raises PipelineError if the file is missing, no safetensors file, or not one of ours.
    """
    return load_weights(Path(path), "a trained autoencoder", _build)


def load_defended(path: Path, classifier_path: Path, classifier: nn.Module) -> nn.Module:
    """What a defense is called with: the attacked classifier, or it behind the autoencoder at `path`.

    A defense that learns nothing names the classifier's own file.
    """
    if path.resolve() == classifier_path.resolve():
        return classifier
    return RestoringClassifier(load_autoencoder(path), classifier)


def _build(architecture: dict[str, Any]) -> Autoencoder:
    return Autoencoder(tuple(architecture.pop("input_shape")), **architecture)
