"""What the autoencoders make of images, beside a blur: errors on validation images, and examples to look at.

Reads:  the images file (which training images are validation images), the attacked classifier, the minimal and
        extended sets, both autoencoders.
Writes: each method's error on validation originals, one target each; restored test images, one of each class.
Params: restorations.<dataset>, defenses.gaussian_blur.<dataset>.arguments, seed.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.defenses import load_autoencoder
from pipeline.artifacts.images import read_split
from pipeline.artifacts.pairs import open_pairs
from pipeline.artifacts.restorations import Restorations, write_restorations
from pipeline.defenses.gaussian_blur import blur, gaussian_blur
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.autoencoder_trials import one_of_each
from pipeline.metrics.restorations import BLUR, measure_errors
from pipeline.metrics.splits import validation_mask
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.dropout import sampling
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.params import arguments_for, check_value, read_block
from pipeline.randomness import derive_seed, generator
from pipeline.ranges import Range
from pipeline.stages.command import run

Method = Callable[[Tensor], Tensor]
Labels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def main(arguments: argparse.Namespace) -> None:
    dataset, params = arguments.dataset, arguments.params
    where = f"restorations.{dataset}.sigmas"
    sigmas = check_value(read_block(params, where), tuple[Annotated[float, Range(0, 20)], ...], where)
    where = f"defenses.gaussian_blur.{dataset}.arguments"
    used = arguments_for(gaussian_blur, read_block(params, where), where)["sigma"]
    if used not in sigmas:
        raise PipelineError(f"{where}.sigma: expected one of restorations.{dataset}.sigmas, found {used:g}")
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    classifier = for_inference(load_classifier(arguments.classifier), device)
    held_out = validation_mask(read_split(arguments.images, "train").labels, seed, dataset)
    sets = {"minimal": arguments.minimal, "extended": arguments.extended}
    autoencoders = {path.stem: for_inference(load_autoencoder(path), device) for path in arguments.weights}
    batch_size = batching(device).predict
    with_dropout = {
        name: partial(_one_pass, model, batch_size, partial(generator, device, seed, dataset, name, "restorations"))
        for name, model in autoencoders.items()
    }
    tried: dict[tuple[str, float], Method] = {("nothing", 0.0): lambda images: images}
    tried |= {(name, 0.0): method for name, method in with_dropout.items()}
    tried["autoencoder_without_dropout", 0.0] = autoencoders["autoencoder_ensemble"]
    tried |= {(BLUR, sigma): partial(blur, sigma=sigma) for sigma in sigmas}

    errors = []
    for kind in ("clean", *sets):
        with open_pairs([sets.get(kind, arguments.minimal)], held_out, device) as pairs:
            random = np.random.default_rng(derive_seed(seed, dataset, "restorations", kind))
            rows = one_of_each(pairs.original_row, random)
            originals = to_unit_interval(pairs.originals[pairs.original_row[rows].to(device)], classifier)
            inputs = originals if kind == "clean" else to_unit_interval(pairs.images(rows), classifier)
        errors += measure_errors(tried, inputs, originals, kind)

    labels, targets, shown = _examples(sets)
    methods: dict[str, Method] = {**with_dropout, BLUR: partial(blur, sigma=used)}
    with torch.inference_mode():
        restored = [
            [method(to_unit_interval(torch.from_numpy(images), classifier)).cpu().numpy() for images in shown]
            for method in methods.values()
        ]
    examples = Restorations(
        kinds=("clean", *sets),
        methods=tuple(methods),
        labels=labels,
        target_labels=targets,
        inputs=shown,
        restored=np.array(restored),
    )
    write_restorations(arguments.examples, examples)
    write_curves(arguments.errors, errors)


def _one_pass(
    autoencoder: Autoencoder, batch_size: int, fresh: Callable[[], torch.Generator], images: Tensor
) -> Tensor:
    """The restored images with dropout on; the same masks at each call."""
    with sampling(autoencoder, fresh()):
        return torch.cat([autoencoder(part) for part in images.split(batch_size)])


def _examples(sets: dict[str, Path]) -> tuple[Labels, Labels, Floats]:
    """Of each class the first test original that every set fooled towards the next class: labels, targets, images.

    The images are the originals and those of each set, (1 + sets, e, c, h, w).
    """
    fooled = []
    for path in sets.values():
        with open_adversarial(path) as set_:
            sources, classes = set_.sources, len(set_.identity.class_names)
            test = sources.source_split[sources.original_row] == TEST
            fooled.append(set_.is_adversarial & test & (sources.target_labels == (sources.labels + 1) % classes))
    both = np.flatnonzero(np.logical_and.reduce(fooled))
    if not len(both):
        raise PipelineError(f"{', '.join(map(str, sets.values()))}: no test image that all of them fooled")
    _, first = np.unique(sources.labels[both], return_index=True)
    rows = np.sort(both[first])  # HDF5 reads sorted rows only
    rows_by_label = np.argsort(sources.labels[rows])
    inputs = []
    for path in sets.values():
        with open_adversarial(path) as set_:
            originals = set_.originals(rows)[rows_by_label]
            inputs.append(set_.images(rows)[rows_by_label])
    labels, targets = (values[rows][rows_by_label] for values in (sources.labels, sources.target_labels))
    return labels, targets, np.stack([originals, *inputs])


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        classifier="path of the attacked classifier (read)",
        minimal="path of the minimal adversarial set (read)",
        extended="path of the extended adversarial set (read)",
        weights="paths of the autoencoders (read)",
        errors="path of the table of errors (written)",
        examples="path of the restored examples (written)",
    )
