"""A new study's own classifier: its module and its weights into the study's folder, looked at before anything runs."""

import shutil
from pathlib import Path
from typing import Any

from pipeline.artifacts.raw.wanted import SMALLEST
from pipeline.errors import PipelineError


def bring(folder: Path, classifier: str, weights: str) -> dict[str, Any]:
    """Copy them into the study's folder, if they are files, and build it; the block `classifier` of its params.

    classifier : "path/to/nets.py:function", or "package.module:function" of what is installed. weights : a file.

    Raises PipelineError if a file is not there, nothing is built, or the weights are not those of it: before all images
    are looked at, which may take minutes.
    """
    path, _, function = classifier.rpartition(":")
    if not path or not function:
        raise PipelineError(f"CLASSIFIER: expected nets.py:function or package.module:function, found {classifier!r}")
    if path.endswith(".py"):
        copied(Path(path), folder, "CLASSIFIER")
        path = Path(path).stem
    if not weights:
        raise PipelineError("WEIGHTS: missing; expected the file of the classifier's weights")
    copied(Path(weights), folder, "WEIGHTS")
    from pipeline.artifacts.outside import given_classifier, take_classifier

    block = {"build": f"{path}:{function}", "weights": Path(weights).name}
    given = given_classifier(folder / "params.yaml", block)
    take_classifier(folder, given, Path(weights), (1, SMALLEST, SMALLEST), 2)  # whatever the images are
    return block


def copied(file: Path, folder: Path, what: str) -> None:
    """Copy a file into a folder. Raises PipelineError if it is not there."""
    if not file.is_file():
        raise PipelineError(f"{what}: {file}: no such file")
    folder.mkdir(exist_ok=True)
    shutil.copyfile(file, folder / file.name)
    print(f"{folder / file.name}: copied from {file}")


def look_at_classifier(folder: Path, weights: Path, shape: tuple[int, int, int], classes: int) -> None:
    """Build it, load its weights, show it some noise. Raises PipelineError if it is no classifier of such images."""
    import torch

    from pipeline.artifacts.outside import given_in, take_classifier
    from pipeline.models.inference import weight_count
    from pipeline.models.outside import check_logits
    from pipeline.randomness import generator

    given = given_in(folder)
    model = take_classifier(folder, given, weights, shape, classes)
    noise = torch.randint(256, (2, *shape), generator=generator("cpu", 0, "a look"), dtype=torch.uint8)
    check_logits(model, noise, classes, f"{folder / 'params.yaml'}: classifier: {given.build}")
    print(f"{given.build}: {weight_count(model):,} weights; takes these images, and gives logits of {classes} classes")
    if given.normalization is None:
        print("it is given images in [0, 1]; if it was trained on others, set classifier.normalization in the params")
