"""Train classifiers of several depths and widths, to compare how they are fooled.

Reads:  the images file (train split; the test split never).
Writes: a folder with the weights of each; their learning curves.
Params: sizes.<dataset> (channels, dropout, training), seed.
"""

import argparse
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.weights import save_model
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.splits import validation_mask
from pipeline.models.classifier import Classifier
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import generator
from pipeline.stages.command import run
from pipeline.training.classifier import Epoch, divide, fit_classifier, new_classifier


@dataclass(frozen=True)
class SizeEpoch(Epoch):
    """An epoch of one of the classifiers."""

    model: str


def main(arguments: argparse.Namespace) -> None:
    dataset = arguments.dataset
    where = f"sizes.{dataset}"
    training = arguments_for(fit_classifier, read_block(arguments.params, f"{where}.training"), f"{where}.training")
    blocks = check_value(read_block(arguments.params, f"{where}.classifiers"), dict[str, Any], f"{where}.classifiers")
    architectures = {
        name: arguments_for(Classifier, block, f"{where}.classifiers.{name}") for name, block in blocks.items()
    }
    if len(architectures) < 2:
        raise PipelineError(f"{where}.classifiers: expected two or more to compare, found {len(architectures)}")
    seed = check_value(read_block(arguments.params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    split = read_split(arguments.images, "train")
    class_count = len(read_description(arguments.images).class_names)
    division = divide(split.images, split.labels, validation_mask(split.labels, seed, dataset), device)

    curves = []
    with bar(
        len(architectures) * training["epochs"] * len(division.images), f"train_sizes {dataset}", "image"
    ) as progress:
        for name, architecture in architectures.items():
            model = new_classifier(division.images, class_count, (seed, dataset, "size", name), **architecture)
            for epoch in fit_classifier(
                model,
                *division,
                generator(device, seed, dataset, "size", name, "training"),
                progress.update,
                **training,
            ):
                curves.append(SizeEpoch(**vars(epoch), model=name))
                progress.set_postfix({f"{name} {epoch.split}": f"{epoch.accuracy:.4f}"}, refresh=False)
            save_model(arguments.classifiers / f"{name}.safetensors", model)
    write_curves(arguments.curves, curves)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        classifiers="path of the folder of weights (written)",
        curves="path of the learning curves (written)",
    )
