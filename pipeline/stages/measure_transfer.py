"""Attack classifiers of several sizes, and show each one's images to all of them.

Reads:  the images file (test split); the weights of the classifiers.
Writes: a table of the classifiers; one row per classifier and image made against it; one row per pair of classifiers.
Params: sizes.<dataset> (names of classifiers, originals, minimal, extended), seed.
Cost:   for each classifier the steps of its images, and one pass of every classifier over them.
"""

import argparse
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline import pixels
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks import extended, minimal
from pipeline.attacks.engine import run_attack
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.sources import every_target, select_sources
from pipeline.metrics.transfer import Size, measure_examples, measure_transfer
from pipeline.models.inference import for_inference, predict, unit_interval
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed
from pipeline.ranges import Range
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    dataset, params = arguments.dataset, arguments.params
    where = f"sizes.{dataset}"
    seed = check_value(read_block(params, "seed"), int, "seed")
    names = check_value(read_block(params, f"{where}.classifiers"), dict[str, Any], f"{where}.classifiers")
    epochs = check_value(read_block(params, f"{where}.training.epochs"), int, f"{where}.training.epochs")
    count = check_value(read_block(params, f"{where}.originals"), Annotated[int, Range(1, 10**6)], f"{where}.originals")
    first = arguments_for(minimal.minimal, read_block(params, f"{where}.minimal"), f"{where}.minimal")
    further = {"step_size": first["step_size"], **read_block(params, f"{where}.extended")}
    further = arguments_for(extended.extended, further, f"{where}.extended")

    keep_freed_memory()
    device = choose_device()
    settings = batching(device)
    models = {
        name: for_inference(load_classifier(arguments.classifiers / f"{name}.safetensors"), device) for name in names
    }

    def classify(model: nn.Module, images: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = predict(model, torch.from_numpy(images), settings.predict).cpu().numpy()
        return logits

    def classify_by_all(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The class that all models see; where they disagree there is none that is right: -1."""
        found = np.stack([classify(model, images).argmax(1) for model in models.values()])
        return np.where((found == found[0]).all(0), found[0], -1)

    test = read_split(arguments.images, "test")
    class_names = read_description(arguments.images).class_names
    random = np.random.default_rng(derive_seed(seed, dataset, "sizes", "sources"))
    chosen = select_sources(test.images, test.labels, classify_by_all, count, class_names, random, f"{where}.originals")
    originals = test.images[chosen]
    original_row, targets = every_target(test.labels[chosen], len(class_names))
    labels = test.labels[chosen][original_row]
    rows = torch.from_numpy(original_row).to(device, torch.int64)

    sizes = []
    for name, model in models.items():
        right = classify(model, test.images).argmax(1) == test.labels
        channels = model.architecture["channels"]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        sizes.append(Size(name, len(channels), max(channels), parameters, epochs, float(right.mean())))

    examples, transfers = [], []
    with bar(2 * len(models) * len(targets), f"measure_transfer {dataset}", "image") as progress:
        for name, model in models.items():
            before = classify(model, originals)[original_row]
            images = unit_interval(torch.from_numpy(originals).to(device)[rows])
            steps = np.zeros(len(rows), np.int16)
            for attack, attributes in ((minimal, first), (extended, further)):
                kind = attack.__name__.rpartition(".")[2]
                images, more = run_attack(
                    attack,
                    model,
                    images,
                    torch.arange(len(rows), device=device),
                    torch.from_numpy(targets).to(device, torch.int64),
                    settings.attack,
                    lambda finished, fooled: progress.update(finished),
                    **attributes,
                )
                steps = steps + more.cpu().numpy().astype(np.int16)
                stored = images.cpu().numpy()
                clean = pixels.unit_interval(originals[original_row])
                frame = measure_examples(stored, clean, classify(model, stored), before, targets)
                frame.insert(0, "original_row", original_row)
                examples.append(frame.assign(steps=steps, attack=kind, model=name, label=labels))
                fooled = frame["is_adversarial"].to_numpy()
                for other, tried in models.items():
                    predicted = classify(tried, stored).argmax(1)[fooled]
                    judged = predicted, labels[fooled], targets[fooled], original_row[fooled]
                    transfers.append(measure_transfer(kind, name, other, *judged))
    about = {"dataset": dataset, "params": {"minimal": first, "extended": further}}
    write_frame(arguments.sizes, pd.DataFrame(sizes), "sizes", about)
    write_frame(arguments.examples, pd.concat(examples, ignore_index=True), "size_examples", about)
    write_frame(arguments.transfer, pd.DataFrame(transfers), "transfer", about)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        classifiers="path of the folder of weights (read)",
        sizes="path of the table of classifiers (written)",
        examples="path of the table of images (written)",
        transfer="path of the table of pairs of classifiers (written)",
    )
