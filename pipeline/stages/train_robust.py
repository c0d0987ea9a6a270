"""Train a classifier on adversarial images of itself: adversarial training.

Reads:  the images file (train split; the test split never).
Writes: the classifier's weights; its learning curves ("train": on adversarial images).
Params: classifier.<dataset>.architecture, robust.<defense>.<dataset>, seed.
"""

import argparse

from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.weights import save_model
from pipeline.defenses.adversarial_training import Adversary
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.metrics.splits import validation_mask
from pipeline.models.classifier import Classifier
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import generator
from pipeline.stages.command import run
from pipeline.training.classifier import divide, fit_classifier, new_classifier


def main(arguments: argparse.Namespace) -> None:
    dataset, name, params = arguments.dataset, arguments.defense, arguments.params
    where = f"classifier.{dataset}.architecture"
    # Without dropout: the adversary is regularization enough. In evaluation it is the attacked classifier's network.
    architecture = {**arguments_for(Classifier, read_block(params, where), where), "dropout": 0.0}
    where = f"robust.{name}.{dataset}"
    training = arguments_for(fit_classifier, read_block(params, f"{where}.training"), f"{where}.training")
    adversary = arguments_for(Adversary, read_block(params, f"{where}.adversary"), f"{where}.adversary")
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    split = read_split(arguments.images, "train")
    class_count = len(read_description(arguments.images).class_names)
    division = divide(split.images, split.labels, validation_mask(split.labels, seed, dataset), device)
    model = new_classifier(division.images, class_count, (seed, dataset, name), **architecture)
    objective = Adversary(generator(device, seed, dataset, name, "adversary"), **adversary)

    curves = []
    with bar(training["epochs"] * len(division.images), f"train_robust {dataset} {name}", "image") as progress:
        for epoch in fit_classifier(
            model,
            *division,
            generator(device, seed, dataset, name, "training"),
            progress.update,
            objective,
            **training,
        ):
            curves.append(epoch)
            progress.set_postfix({f"{epoch.split} accuracy": f"{epoch.accuracy:.4f}"}, refresh=False)
    write_curves(arguments.curves, curves)
    save_model(arguments.weights, model)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        defense="name of the defense",
        images="path of the images file (read)",
        weights="path of the weights (written)",
        curves="path of the learning curves (written)",
    )
