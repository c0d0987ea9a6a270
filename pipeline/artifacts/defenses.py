"""`data/defenses/<dataset>/<defense>.safetensors`: what a defense has learned, an autoencoder or a classifier."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from torch import nn

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.weights import load_model
from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier
from pipeline.models.classifier import Classifier, FullyConnectedClassifier


def load_autoencoder(path: Path | str) -> Autoencoder:
    """The autoencoder at `path` in evaluation mode: images in [0, 1] to images in [0, 1].

    Raises PipelineError if the file is missing, no safetensors file, or not one of ours.
    """
    return load_model(path, "a trained autoencoder", Autoencoder)


def load_defended(path: Path, classifier_path: Path) -> tuple[nn.Module, str]:
    """What a defense is called with, and the setting in which images made against the attacked classifier judge it.

    path : of the attacked classifier itself, where the defense has learned nothing, or of an autoencoder, then put
        before that classifier: "static". Or of another classifier, which the defense has trained: "transfer".
    """
    what = "a trained classifier or autoencoder"
    learned: nn.Module = load_model(path, what, Classifier, FullyConnectedClassifier, Autoencoder)
    if isinstance(learned, Autoencoder):
        return RestoringClassifier(learned, load_classifier(classifier_path)), "static"
    return learned, "static" if path.resolve() == classifier_path.resolve() else "transfer"


def check_learned(function: Callable[..., Any], learned: nn.Module, path: Path) -> None:
    """PipelineError if a classifier was loaded from `path` where `function` expects an autoencoder, or so."""
    first, *_ = get_type_hints(function).values()
    wanted, found = (
        "an autoencoder's file" if restoring else "a classifier's file"
        for restoring in (first is RestoringClassifier, isinstance(learned, RestoringClassifier))
    )
    if wanted != found:
        raise PipelineError(
            f"{path}: {function.__name__} expects {wanted}, found {found}: see evaluations and attacked in params.yaml"
        )
