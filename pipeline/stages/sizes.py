"""Train classifiers of several depths and widths, attack each, and show each one's images to all of them.

Reads:  the images file (training: train split alone; attacked: test split); the chosen step size and extra steps.
Writes: the weights of each; learning curves; tables of the classifiers, of the images made against them, and of pairs.
Params: sizes, training, attacks, seed.
Cost:   a training each; for each classifier the steps of its images, and one pass of every classifier over them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_description, read_shape, read_split
from pipeline.artifacts.left_out import or_left_out
from pipeline.artifacts.outside import given_in, retraining
from pipeline.artifacts.statistics import write_frame
from pipeline.artifacts.weights import save_model
from pipeline.attacks import extended, minimal
from pipeline.attacks.shared.transfer import Transfer
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.mapper import in_order
from pipeline.metrics.sources import select_sources
from pipeline.metrics.splits import validation_mask
from pipeline.metrics.transfer import Size
from pipeline.models.classifier import check_buildable
from pipeline.models.inference import depth_and_width, for_inference, predict, weight_count
from pipeline.progress import bar
from pipeline.randomness import derive_seed
from pipeline.ranges import Range
from pipeline.stages.command import run
from pipeline.stages.sets import extended_arguments, minimal_arguments, targets_of
from pipeline.studies import Study
from pipeline.study_blocks import checked_name
from pipeline.training.classifier import Epoch, divide, fit_classifier, train_one


@dataclass(frozen=True)
class SizeEpoch(Epoch):
    """An epoch of one of the classifiers."""

    model: str


def main(study: Study) -> None:
    with or_left_out(study.path("sizes")):
        compare(study)


def compare(study: Study) -> None:
    """Train the classifiers, attack them, and write the tables. Raises LeftOut where none may be trained."""
    build, architectures, training, count = asked_of(study)
    first = minimal_arguments(study)
    further = extended_arguments(study, first)

    folder, device = study.path("sizes"), study.device
    images, description = study.path("images"), read_description(study.path("images"))
    if not study.brings_classifier:
        for name, arguments in architectures.items():
            where = study.where(f"sizes.classifiers.{name}")
            check_buildable(build, read_shape(images), len(description.class_names), arguments, where)
    split = read_split(images, "train")
    held_out = validation_mask(split.labels, study.seed, study.source)
    division = divide(split.images, split.labels, held_out, device)
    models, weights, curves = {}, {}, []
    total = len(architectures) * training["epochs"] * len(division.images)
    names = study.seed, study.source, "size"
    task = partial(train_one, division, len(description.class_names), names, training, build)
    with bar(total, f"train sizes {study.name}", "image") as progress:
        trained = in_order(f"train sizes {study.name}", task, architectures.items(), progress.advance)
        for name, (model, epochs) in zip(architectures, trained, strict=True):
            curves += [SizeEpoch(**vars(epoch), model=name) for epoch in epochs]
            save_model(folder / "classifiers" / f"{name}.safetensors", model)
            # Before batch normalization is folded, as the attacked classifier's are counted.
            weights[name] = weight_count(model)
            models[name] = for_inference(model, device)
    write_curves(folder / "curves.csv", curves)
    frames = _transfer(study, models, weights, count, first, further, training["epochs"])
    about = {"dataset": study.name, "params": {"minimal": first, "extended": further}}
    for (what, schema), frame in zip(SCHEMAS.items(), frames, strict=True):
        write_frame(folder / f"{what}.parquet", frame, schema, about)


def asked_of(study: Study) -> tuple[Callable[..., nn.Module], dict[str, dict[str, Any]], dict[str, Any], int]:
    """What makes a network, by name the arguments for each, how they are trained, on how many originals attacked.

    Raises PipelineError where a number is wrong, LeftOut where none may be trained.
    """
    training = study.training(fit_classifier, "sizes.training")
    build, architectures = kinds_of(study)
    if len(architectures) < 2:
        where = study.where("sizes.classifiers")
        raise PipelineError(f"{where}: expected two or more to compare, found {len(architectures)}")
    return build, architectures, training, study.checked("sizes.originals", Annotated[int, Range(1, 10**6)])


SCHEMAS = {"sizes": "sizes", "examples": "size_examples", "transfer": "transfer"}


def kinds_of(study: Study) -> tuple[Callable[..., nn.Module], dict[str, dict[str, Any]]]:
    """What makes a network of the study's kind, and by name the arguments for each. Raises LeftOut where none may."""
    blocks = [checked_name(name, study.where("sizes.classifiers")) for name in study.block("sizes.classifiers")]
    if not study.brings_classifier:
        return study.kind, {name: study.arguments(study.kind, f"sizes.classifiers.{name}") for name in blocks}
    given = given_in(study.folder)
    own = given.arguments or {}
    return retraining(study.folder, given), {
        name: own | study.checked(f"sizes.classifiers.{name}", dict[str, Any]) for name in blocks
    }


def _transfer(
    study: Study,
    models: dict[str, nn.Module],
    weights: dict[str, int],
    count: int,
    first: dict[str, Any],
    further: dict[str, Any],
    epochs: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    device = study.device
    settings = batching(device, read_shape(study.path("images")))

    def classify(model: nn.Module, images: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = predict(model, torch.from_numpy(images), settings.predict).cpu().numpy()
        return logits

    def classify_by_all(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The class that all models see; where they disagree there is none that is right: -1."""
        found = np.stack([classify(model, images).argmax(1) for model in models.values()])
        return np.where((found == found[0]).all(0), found[0], -1)

    test = read_split(study.path("images"), "test")
    class_names = read_description(study.path("images")).class_names
    random = np.random.default_rng(derive_seed(study.seed, study.source, "sizes", "sources"))
    where = study.where("sizes.originals")
    chosen = select_sources(test.images, test.labels, classify_by_all, count, class_names, random, where)
    originals = test.images[chosen]
    original_row, targets = targets_of(study, "sizes", test.labels[chosen], len(class_names))
    sizes = []
    for name, model in models.items():
        right = classify(model, test.images).argmax(1) == test.labels
        sizes.append(Size(name, *depth_and_width(model), weights[name], epochs, float(right.mean())))
    attacks = (("minimal", minimal.attack, first), ("extended", extended.attack, further))
    task = Transfer(
        models, originals, original_row, test.labels[chosen][original_row], targets, attacks, settings.attack,
        settings.predict,
    )  # fmt: skip
    with bar(2 * len(models) * len(targets), f"transfer {study.name}", "image") as progress:

        def advance(finished: int, fooled: int | None = None) -> None:
            progress.update(finished)

        found = list(in_order(f"transfer {study.name}", task, models, advance))
    examples = pd.concat([frame for frames, _ in found for frame in frames], ignore_index=True)
    return pd.DataFrame(sizes), examples, pd.DataFrame([row for _, rows in found for row in rows])


if __name__ == "__main__":
    run(main, __doc__, computes=True)
