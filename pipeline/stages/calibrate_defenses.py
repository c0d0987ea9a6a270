"""Try the strengths of the randomized defenses on validation images, beside the choices in params.yaml.

Reads:  the minimal adversarial set: its train-split part, validation originals only; the images file
        (which training images are validation images); the attacked classifier.
Writes: one row per defense and strength.
Params: defense_trials.<dataset>, seed.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts.adversarial import open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_split
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.defenses.gaussian_noise_ensemble import gaussian_noise_ensemble
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.defense_trials import DefenseTrial
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.sources import one_row_per_original
from pipeline.metrics.splits import validation_mask
from pipeline.models.inference import for_inference
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import each
from pipeline.randomness import derive_seed, generator
from pipeline.ranges import Range
from pipeline.stages.command import run

DEFENSES: dict[str, tuple[Callable[..., Tensor], str]] = {
    "dropout_ensemble": (dropout_ensemble, "rate"),
    "gaussian_noise_ensemble": (gaussian_noise_ensemble, "sigma"),
}


def main(arguments: argparse.Namespace) -> None:
    dataset, params = arguments.dataset, arguments.params
    where = f"defense_trials.{dataset}"
    passes = check_value(read_block(params, f"{where}.passes"), Annotated[int, Range(1, 10000)], f"{where}.passes")
    strengths = {
        name: check_value(read_block(params, f"{where}.{key}"), tuple[float, ...], f"{where}.{key}")
        for name, (_, key) in DEFENSES.items()
    }
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    classifier = for_inference(load_classifier(arguments.classifier), device)
    held_out = np.flatnonzero(validation_mask(read_split(arguments.images, "train").labels, seed, dataset))
    with open_adversarial(arguments.adversarial) as set_:
        sources = set_.sources
        validation = (sources.source_split == 0) & np.isin(sources.source_index, held_out)
        rows = np.flatnonzero(set_.is_adversarial & validation[sources.original_row])
        random = np.random.default_rng(derive_seed(seed, dataset, "defense trials"))
        rows = rows[one_row_per_original(sources.original_row[rows], random)]
        labels, targets = sources.labels[rows], sources.target_labels[rows]
        images = torch.from_numpy(set_.images(rows))
        originals = torch.from_numpy(sources.originals[sources.original_row[rows]])

    trials = []
    wanted = [(name, value) for name, values in strengths.items() for value in sorted(values)]
    for name, value in each(wanted, f"calibrate defenses {dataset}", "trial", len(wanted)):
        function, argument = DEFENSES[name]
        settings = arguments_for(function, {"passes": passes, argument: value}, where)
        predicted = {}
        for what, pictures in (("clean", originals), ("minimal", images)):
            names = dataset, name, "trial", str(value), what
            frame = evaluate(
                partial(function, **settings),
                classifier,
                pictures,
                batching(device).predict,
                lambda batch, names=names: generator(device, seed, *names, batch),  # type: ignore[misc]
            )
            predicted[what] = frame["predicted"].to_numpy()
        trials.append(
            DefenseTrial(
                name,
                value,
                len(rows),
                float((predicted["clean"] == labels).mean()),
                float((predicted["minimal"] != targets).mean()),
                float((predicted["minimal"] == labels).mean()),
            )
        )
    write_curves(arguments.trials, trials)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        adversarial="path of the minimal adversarial set (read)",
        classifier="path of the attacked classifier (read)",
        trials="path of the table of trials (written)",
    )
