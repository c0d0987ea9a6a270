"""Measure what `step_size` and `extra_steps` do, on validation images, beside the choices in params.yaml.

Reads:  the images file (validation tenth of the train split); the classifier.
Writes: two CSV files: mean L2 against step size, and against extra steps.
Params: calibration.<dataset>, attacks.minimal.<dataset>.step_size, seed.
"""

import argparse
from typing import Annotated

import numpy as np
import torch

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_description, read_split
from pipeline.attacks.calibration import calibrate
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.calibration import ExtraStepsTrial, StepSizeTrial
from pipeline.metrics.sources import every_target
from pipeline.metrics.splits import validation_mask
from pipeline.models.inference import for_inference, predict, unit_interval
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import each
from pipeline.ranges import Range
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    dataset, params = arguments.dataset, arguments.params
    where = f"calibration.{dataset}"
    count = check_value(read_block(params, f"{where}.originals"), Annotated[int, Range(1, 10**6)], where)
    trials = arguments_for(calibrate, read_block(params, f"{where}.trials"), where)
    where = f"attacks.minimal.{dataset}.step_size"
    step_size = check_value(read_block(params, where), Annotated[float, Range(0, 1000, low_open=True)], where)
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    batches = batching(device)
    model = for_inference(load_classifier(arguments.classifier), device)
    split = read_split(arguments.images, "train")
    held_out = validation_mask(split.labels, seed, dataset)
    images, labels = torch.from_numpy(split.images[held_out]), split.labels[held_out]
    predicted = predict(model, images, batches.predict).argmax(1).cpu().numpy()
    right = np.flatnonzero(predicted == labels)[:count]
    rows, targets = every_target(labels[right], len(read_description(arguments.images).class_names))
    originals = unit_interval(images[right])[torch.from_numpy(rows).long()]

    results = calibrate(
        model,
        originals.to(device),
        torch.from_numpy(targets).to(device, torch.int64),
        batches.attack,
        step_size,
        **trials,
    )
    total = len(trials["step_sizes"]) + trials["most_extra_steps"]
    measured = list(each(results, f"calibrate {dataset}", "trial", total))
    write_curves(arguments.step_sizes, [t for t in measured if isinstance(t, StepSizeTrial)])
    write_curves(arguments.extra_steps, [t for t in measured if isinstance(t, ExtraStepsTrial)])


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        classifier="path of the attacked classifier (read)",
        step_sizes="path of the curve over step sizes (written)",
        extra_steps="path of the curve over extra steps (written)",
    )
