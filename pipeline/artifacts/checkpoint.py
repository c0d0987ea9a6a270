"""`data/classifiers/<study>.safetensors`: a classifier that was trained, or brought."""

from collections.abc import Callable
from pathlib import Path

from pipeline.artifacts.weights import load_model, rebuilt
from pipeline.models.classifier import NormalizingClassifier
from pipeline.models.outside import Outside
from pipeline.registry import classifier_kinds


def load_classifier(path: Path | str) -> NormalizingClassifier | Outside:
    """The classifier at `path` in evaluation mode: images in [0, 1] in, logits out.

    Raises PipelineError if the file is missing, no safetensors file, or none of a classifier.
    """
    kinds: dict[str, Callable[..., NormalizingClassifier | Outside]] = {
        kind.__name__: kind for kind in classifier_kinds().values()
    }
    return load_model(path, "a trained classifier", {**kinds, Outside.__name__: rebuilt})
