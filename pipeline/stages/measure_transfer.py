"""Attack classifiers of several sizes, and show each one's images to all of them.

Reads:  the images file (test split); the weights of the classifiers.
Writes: a table of the classifiers; one row per classifier and image made against it; one row per pair of classifiers.
Params: sizes.<dataset> (classifiers, originals, attack), seed.
Cost:   for each classifier the steps of its images, and one pass of every classifier over them.
"""

import argparse
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks import extended, minimal
from pipeline.attacks.engine import run_attack
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.outcomes import margins
from pipeline.metrics.sources import every_target, select_sources
from pipeline.metrics.transfer import Size, measure_transfer
from pipeline.models.inference import place, predict
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed
from pipeline.ranges import Range
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    dataset, params = arguments.dataset, arguments.params
    where = f"sizes.{dataset}"
    seed = check_value(read_block(params, "seed"), int, "seed")
    channels = {name: block["channels"] for name, block in read_block(params, f"{where}.classifiers").items()}
    epochs = read_block(params, f"{where}.training.epochs")
    count = check_value(read_block(params, f"{where}.originals"), Annotated[int, Range(1, 10**6)], f"{where}.originals")
    first = arguments_for(minimal.minimal, read_block(params, f"{where}.minimal"), f"{where}.minimal")
    further = {"step_size": first["step_size"], **read_block(params, f"{where}.extended")}
    further = arguments_for(extended.extended, further, f"{where}.extended")

    keep_freed_memory()
    device = choose_device()
    settings = batching(device)
    models = {name: place(load_classifier(arguments.classifiers / f"{name}.safetensors"), device) for name in channels}
    test = read_split(arguments.images, "test")
    names = read_description(arguments.images).class_names
    originals, original_row, labels, targets = _sources(test.images, test.labels, names, models, count, seed, dataset)
    target_labels = torch.from_numpy(targets).to(device, torch.int64)
    rows = torch.from_numpy(original_row).to(device, torch.int64)

    sizes = []
    for name, model in models.items():
        right = predict(model, torch.from_numpy(test.images), settings.predict).argmax(1).cpu().numpy() == test.labels
        parameters = sum(parameter.numel() for parameter in model.parameters())
        sizes.append(Size(name, len(channels[name]), max(channels[name]), parameters, epochs, float(right.mean())))

    examples, transfers = [], []
    with bar(2 * len(models) * len(targets), f"measure_transfer {dataset}", "image") as progress:
        for name, model in models.items():
            logits = predict(model, originals, settings.predict)[rows]
            images, steps = originals[rows.cpu()].float().to(device) / 255, torch.zeros_like(rows)
            for attack, attributes in ((minimal, first), (extended, further)):
                kind = attack.__name__.rpartition(".")[2]
                images, more = run_attack(
                    attack,
                    model,
                    images,
                    torch.arange(len(rows), device=device),
                    target_labels,
                    settings.attack,
                    lambda finished, fooled: progress.update(finished),
                    **attributes,
                )
                steps = steps + more
                examples.append(
                    _examples(model, kind, images, originals, rows, steps, target_labels, logits).assign(
                        model=name, label=labels
                    )
                )
                fooled = examples[-1]["is_adversarial"].to_numpy()
                for other, tried in models.items():
                    predicted = predict(tried, images, settings.predict).argmax(1).cpu().numpy()[fooled]
                    transfers.append(
                        measure_transfer(
                            kind, name, other, predicted, labels[fooled], targets[fooled], original_row[fooled]
                        )
                    )
    about = {"dataset": dataset, "params": {"minimal": first, "extended": further}}
    write_frame(arguments.sizes, pd.DataFrame(sizes), "sizes", about)
    write_frame(arguments.examples, pd.concat(examples, ignore_index=True), "size_examples", about)
    write_frame(arguments.transfer, pd.DataFrame(transfers), "transfer", about)


def _sources(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    class_names: tuple[str, ...],
    models: dict[str, nn.Module],
    count: int,
    seed: int,
    dataset: str,
) -> tuple[Tensor, NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Originals that every model classifies right, uint8 (m, c, h, w), and per image its original, label and target."""

    def classify(part: NDArray[np.uint8]) -> NDArray[np.int64]:
        device = next(iter(models.values())).parameters().__next__().device
        found = torch.stack(
            [predict(model, torch.from_numpy(part), batching(device).predict).argmax(1) for model in models.values()]
        )
        # Where the models disagree there is no right answer: -1 is no class.
        agreed = torch.where((found == found[0]).all(0), found[0], -1)
        predicted: NDArray[np.int64] = agreed.cpu().numpy()
        return predicted

    random = np.random.default_rng(derive_seed(seed, dataset, "sizes", "sources"))
    chosen = select_sources(images, labels, classify, count, class_names, random, f"sizes.{dataset}.originals")
    original_row, targets = every_target(labels[chosen], len(class_names))
    return torch.from_numpy(images[chosen]), original_row, labels[chosen][original_row], targets


def _examples(
    model: nn.Module,
    attack: str,
    images: Tensor,
    originals: Tensor,
    rows: Tensor,
    steps: Tensor,
    target_labels: Tensor,
    original_logits: Tensor,
) -> pd.DataFrame:
    """One row per image: whether it fools the model that it was made against, and how far it had to go."""
    logits = predict(model, images, batching(images.device).predict)
    l2 = (images - originals.to(images.device)[rows].float() / 255).flatten(1).norm(dim=1)
    forward_error = (logits - original_logits).norm(dim=1)
    columns: dict[str, Any] = {
        "original_row": rows.int(),
        "target_label": target_labels.to(torch.uint8),
        "is_adversarial": margins(logits, target_labels) > 0,
        "steps": steps.to(torch.int16),
        "l2": l2,
        "sensitivity": forward_error / l2,
    }
    return pd.DataFrame({name: value.cpu().numpy() for name, value in columns.items()}).assign(attack=attack)


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
