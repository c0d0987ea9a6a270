"""Train what a defense learns, on adversarial images of the train split.

Reads:  the images file (which training images are validation images), the attacked classifier, the adversarial
        sets: only rows whose original is of the train split.
Writes: the weights of the best epoch, and the learning curves. An interrupted run leaves neither.
Params: trainings.<defense>.<dataset>, seed.
"""

import argparse

from pipeline.artifacts.adversarial import choose_sets
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_split
from pipeline.artifacts.pairs import open_pairs
from pipeline.artifacts.weights import save_model
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.metrics.splits import validation_mask
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.inference import for_inference, place
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import generator, seeded_initialization
from pipeline.stages.command import run
from pipeline.training.autoencoder import fit_autoencoder


def main(arguments: argparse.Namespace) -> None:
    dataset, name, params = arguments.dataset, arguments.defense, arguments.params
    where = f"trainings.{name}.{dataset}"
    architecture = arguments_for(Autoencoder, read_block(params, f"{where}.architecture"), f"{where}.architecture")
    training = arguments_for(fit_autoencoder, read_block(params, f"{where}.training"), f"{where}.training")
    wanted = check_value(read_block(params, f"{where}.sets"), list[str], f"{where}.sets")
    seed = check_value(read_block(params, "seed"), int, "seed")
    sets = list(choose_sets(arguments.sets, wanted, f"{where}.sets").values())

    keep_freed_memory()
    device = choose_device()
    classifier = for_inference(load_classifier(arguments.classifier), device)
    held_out = validation_mask(read_split(arguments.images, "train").labels, seed, dataset)
    curves = []
    with open_pairs(sets, ~held_out, device) as pairs, open_pairs(sets, held_out, device) as validation:
        channels, height, width = pairs.originals.shape[1:]
        with seeded_initialization(seed, dataset, name):
            model = Autoencoder((channels, height, width), **architecture)
        place(model, device)
        random_numbers = generator(device, seed, dataset, name, "training")
        total = training["epochs"] * len(pairs)
        with bar(total, f"train_defense {dataset} {name}", "image") as progress:
            for epoch in fit_autoencoder(
                model, classifier, pairs, validation, random_numbers, progress.update, **training
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
        defense="name of the defense: a file in pipeline/defenses",
        images="path of the images file (read)",
        classifier="path of the attacked classifier (read)",
        sets="paths of the adversarial sets (read)",
        weights="path of the weights (written)",
        curves="path of the learning curves (written)",
    )
