"""A new study's own classifier: its module and its weights into the study's folder, looked at before anything runs."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.artifacts.images import Split
from pipeline.artifacts.raw.wanted import SMALLEST
from pipeline.errors import PipelineError
from pipeline.own_files import weights_file
from pipeline.studies import Study


def bring(
    folder: Path, classifier: str, weights: str, mean: Sequence[float] = (), std: Sequence[float] = ()
) -> dict[str, Any]:
    """Copy them into the study's folder, if they are files, and build it; the block `classifier` of its params.

    classifier : "path/to/nets.py:function", or "package.module:function" of what is installed. weights : a file.
    mean, std : its normalization, of each channel.

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

    block: dict[str, Any] = {"build": f"{path}:{function}", "weights": Path(weights).name}
    if mean or std:
        block["normalization"] = {key: list(of) for key, of in (("mean", mean), ("std", std)) if of}
    given = replace(given_classifier(folder / "params.yaml", block), normalization=None)  # the channels are not known
    take_classifier(folder, given, Path(weights), (1, SMALLEST, SMALLEST), 2)  # whatever the images are
    return block


def copied(file: Path, folder: Path, what: str) -> None:
    """Copy a file into a folder. Raises PipelineError if it is not there."""
    if not file.is_file():
        raise PipelineError(f"{what}: {file}: no such file")
    folder.mkdir(exist_ok=True)
    shutil.copyfile(file, folder / file.name)
    print(f"{folder / file.name}: copied from {file}")


def look_at_classifier(study: Study, some: Split, class_count: int) -> None:
    """Build it, load its weights, show it some validation images.

    Raises PipelineError, as the stage that takes it, if it gives no logits of them or is right no more often than by
    chance.
    """
    import torch

    from pipeline.artifacts.outside import given_in, take_classifier
    from pipeline.models.inference import place, weight_count
    from pipeline.models.outside import check_outside

    given, images = given_in(study.folder), torch.from_numpy(some.images)
    shape = images.shape[1], images.shape[2], images.shape[3]
    model = take_classifier(study.folder, given, weights_file(study), shape, class_count)
    where = f"{study.where('classifier')}: {given.build}"
    accuracy = check_outside(place(model, study.device), images, some.labels, class_count, where)
    print(
        f"{given.build}: {weight_count(model):,} weights; takes these images, and gives logits of {class_count} "
        f"classes: {accuracy:.1%} of {len(images)} validation images right"
    )
    if given.normalization is None:
        print("it is given images in [0, 1]; if it was trained on others, MEAN=... STD=... of each channel say so")
