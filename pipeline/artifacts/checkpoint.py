"""`data/classifiers/<study>.safetensors`: a trained classifier."""

from pathlib import Path

from pipeline.artifacts.weights import load_model
from pipeline.models.classifier import Classifier, FullyConnectedClassifier, NormalizingClassifier


def load_classifier(path: Path | str) -> NormalizingClassifier:
    """The classifier at `path` in evaluation mode: images in [0, 1] in, logits out.

    Raises PipelineError if the file is missing, no safetensors file, or not one of ours.
    """
    return load_model(path, "a trained classifier", Classifier, FullyConnectedClassifier)
