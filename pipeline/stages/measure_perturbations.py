"""Measure an adversarial set's perturbations, in one pass over its file.

Reads:  the adversarial set; the classifier it was made against.
Writes: examples.parquet, pairs.parquet, pixels.parquet, profile.parquet and mean_images.h5.
Params: seed (of the random noise that the perturbations are compared with).
"""

import argparse

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.artifacts.adversarial import open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.statistics import MeanImages, write_frame, write_mean_images
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.noise import add_noise_of_norm
from pipeline.metrics.outcomes import margins
from pipeline.metrics.perturbations import Block, PerturbationMeasurement
from pipeline.models.inference import for_inference, predict
from pipeline.params import check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import generator
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    seed = check_value(read_block(arguments.params, "seed"), int, "seed")
    keep_freed_memory()
    device = choose_device()
    model = for_inference(load_classifier(arguments.classifier), device)

    def classify(images: NDArray[np.float32] | torch.Tensor) -> torch.Tensor:
        return predict(model, torch.as_tensor(images), batching(device).predict).cpu()

    frames = []
    with (
        open_adversarial(arguments.adversarial) as set_,
        bar(len(set_), f"measure {set_.identity.attack} {set_.identity.dataset}", "image") as progress,
    ):
        sources, identity = set_.sources, set_.identity
        measurement = PerturbationMeasurement(len(identity.class_names), sources.originals.shape[1:])
        names = identity.dataset, identity.attack, "noise"
        starts_original = np.diff(sources.original_row, prepend=-1) != 0
        for rows in set_.blocks():
            images, originals = set_.images(rows), set_.originals(rows)
            norms = torch.from_numpy(images - originals).flatten(1).norm(dim=1)
            noisy = add_noise_of_norm(torch.from_numpy(originals), norms, generator("cpu", seed, *names, rows.start))
            original_row = sources.original_row[rows]
            first, inverse = np.unique(original_row, return_index=True, return_inverse=True)[1:]
            logits = classify(images)
            frame = measurement.add(
                Block(
                    images=images,
                    originals=originals,
                    labels=sources.labels[rows],
                    target_labels=sources.target_labels[rows],
                    is_adversarial=set_.is_adversarial[rows],
                    first_of_original=starts_original[rows],
                    logits=logits.numpy(),
                    original_logits=classify(originals[first]).numpy()[inverse],
                    noisy_images=noisy.numpy(),
                    noisy_logits=classify(noisy).numpy(),
                )
            )
            rounded = torch.from_numpy(np.round(images * 255).astype(np.uint8))
            targets = torch.from_numpy(sources.target_labels[rows].astype(np.int64))
            known = pd.DataFrame(
                {
                    "row": np.arange(rows.start, rows.stop, dtype=np.int32),
                    "original_row": original_row,
                    "label": sources.labels[rows],
                    "target_label": sources.target_labels[rows],
                    "source_split": sources.source_split[original_row],
                    "source_index": sources.source_index[original_row],
                    "is_adversarial": set_.is_adversarial[rows],
                    "is_adversarial_uint8": (margins(classify(rounded), targets) > 0).numpy(),
                    "steps": set_.steps[rows],
                    "margin": set_.margin[rows],
                }
            )
            frames.append(pd.concat([known, frame], axis=1))
            progress.update(len(images))
    about = {
        "dataset": identity.dataset,
        "attack": identity.attack,
        "params": identity.params,
        "class_names": list(identity.class_names),
    }
    write_frame(arguments.examples, pd.concat(frames, ignore_index=True), "examples", about)
    write_frame(arguments.pairs, measurement.pairs(), "pairs", about)
    write_frame(arguments.pixels, measurement.pixels(), "pixels", about)
    write_frame(arguments.profile, measurement.profile(), "profile", about)
    write_mean_images(arguments.mean_images, MeanImages(**measurement.mean_images()))


if __name__ == "__main__":
    run(
        main,
        __doc__,
        adversarial="path of the adversarial set (read)",
        classifier="path of the attacked classifier (read)",
        examples="path of the table of examples (written)",
        pairs="path of the table of (label, target_label) pairs (written)",
        pixels="path of the histogram of pixel perturbations (written)",
        profile="path of the radial profile (written)",
        mean_images="path of the mean images (written)",
    )
