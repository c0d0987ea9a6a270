"""Train autoencoders briefly on a subset, in one parameter different from a base, and judge them as ensembles.

Reads:  the images file (which training images are validation images), the attacked classifier, the minimal and
        extended sets: train-split part only, judged on validation originals.
Writes: one row per training and number of passes.
Params: autoencoder_trials.<dataset>, seed.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_split
from pipeline.artifacts.pairs import open_pairs
from pipeline.defenses.autoencoder_ensemble import autoencoder_ensemble
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.autoencoder_trials import AutoencoderTrial, Judged, judge, one_of_each
from pipeline.metrics.splits import validation_mask
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier
from pipeline.models.inference import for_inference, place, to_unit_interval
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator, seeded_initialization
from pipeline.ranges import Range
from pipeline.stages.command import run
from pipeline.training.autoencoder import fit_autoencoder


def main(arguments: argparse.Namespace) -> None:
    dataset, params = arguments.dataset, arguments.params
    where = f"autoencoder_trials.{dataset}"
    counts = Annotated[int, Range(1, 10**6)]
    originals = check_value(read_block(params, f"{where}.originals"), counts, f"{where}.originals")
    passes = check_value(read_block(params, f"{where}.passes"), tuple[counts, ...], f"{where}.passes")
    seed = check_value(read_block(params, "seed"), int, "seed")
    families = read_block(params, f"{where}.families")
    wanted = [
        (name, varied, *settings)
        for name in families
        for varied, *settings in _variations(families[name], f"{where}.families.{name}")
    ]

    keep_freed_memory()
    device = choose_device()
    classifier = for_inference(load_classifier(arguments.classifier), device)
    held_out = validation_mask(read_split(arguments.images, "train").labels, seed, dataset)
    sets = [arguments.minimal, arguments.extended]
    trials = []
    with (
        open_pairs(sets, ~held_out, device, originals) as pairs,
        open_pairs(sets, held_out, device) as validation,
        open_pairs(sets[:1], held_out, device) as minimal,
        open_pairs(sets[1:], held_out, device) as extended,
    ):
        channels, height, width = pairs.originals.shape[1:]
        random = np.random.default_rng(derive_seed(seed, dataset, "autoencoder trials"))
        judged = {}
        for attack, part in (("minimal", minimal), ("extended", extended)):
            rows = one_of_each(part.original_row, random)
            labels = part.labels.cpu()[part.original_row[rows]]
            judged[attack] = Judged(part.images(rows), labels, part.target_labels[rows])
        judged["clean"] = Judged(validation.originals, validation.labels.cpu())
        total = sum(training["epochs"] for _, _, _, training in wanted) * len(pairs)
        with bar(total, f"calibrate_autoencoder {dataset}", "image") as progress:
            for name, varied, architecture, training in wanted:
                with seeded_initialization(seed, dataset, "autoencoder trial"):
                    model = place(Autoencoder((channels, height, width), **architecture), device)
                random_numbers = generator(device, seed, dataset, "autoencoder trial", "training")
                for epoch in fit_autoencoder(
                    model, classifier, pairs, validation, random_numbers, progress.update, **training
                ):
                    progress.set_postfix({f"{epoch.split} accuracy": f"{epoch.accuracy:.4f}"}, refresh=False)
                defended = RestoringClassifier(model.eval(), classifier)
                draws = generator(device, seed, dataset, "autoencoder trial", "passes")
                ensemble = partial(_passes, defended, draws, max(passes))
                for count, shares in judge(ensemble, judged, passes, batching(device).predict):
                    trials.append(
                        AutoencoderTrial(
                            defense=name,
                            varied=varied,
                            dropout=architecture["dropout"],
                            clean_share=training["clean_share"],
                            classifier_weight=training["classifier_weight"],
                            training_originals=len(pairs.originals),
                            epochs=training["epochs"],
                            originals=len(validation.originals),
                            passes=count,
                            **shares,
                        )
                    )
    write_curves(arguments.trials, trials)


def _passes(defended: RestoringClassifier, draws: torch.Generator, passes: int, images: Tensor) -> Tensor:
    return autoencoder_ensemble(defended, to_unit_interval(images, defended), draws, passes=passes)


def _variations(family: Any, where: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(what is varied, architecture, training) for the base of a family and each value in its `vary`."""
    base = [dict(read) for read in (family["architecture"], family["training"])]
    tried: list[Any] = []
    changes = [("base", {})] + [(key, {key: value}) for key, values in family["vary"].items() for value in values]
    for varied, change in changes:
        if unknown := [key for key in change if not any(key in block for block in base)]:
            raise PipelineError(f"{where}.vary.{unknown[0]}: expected a parameter of the base")
        blocks = [{**block, **{key: value for key, value in change.items() if key in block}} for block in base]
        if blocks in tried:
            continue
        tried.append(blocks)
        architecture = arguments_for(Autoencoder, blocks[0], f"{where}.architecture")
        yield varied, architecture, arguments_for(fit_autoencoder, blocks[1], f"{where}.training")


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        classifier="path of the attacked classifier (read)",
        minimal="path of the minimal adversarial set (read)",
        extended="path of the extended adversarial set (read)",
        trials="path of the table of trials (written)",
    )
