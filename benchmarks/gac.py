"""What an epoch of the Generative Adversarial Classifier costs beyond its own forward and backward passes.

    python -m benchmarks.gac [--study mnist] [--images 6400] [--rounds 3]

Compares an epoch of `fit_gac` (generator, classifier and both controls, watched on no images) with the same passes
alone: no optimizer, no indexing, no noise, no schedule; in turns, on the same models. Writes the median of each and
their ratio to benchmarks/results/gac.json. The goal is a ratio of at most 1.25.
"""

import statistics
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.common import about, options, seconds, write
from pipeline.artifacts.images import read_description, read_split
from pipeline.defenses.protocol import load_defense
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.metrics.gains import GAC
from pipeline.models.inference import to_unit_interval
from pipeline.models.modes import frozen
from pipeline.params import AUTO
from pipeline.randomness import generator
from pipeline.stages.families import learning_arguments
from pipeline.studies import Study
from pipeline.training.gac import CONTROL, NOISE, Contestants, Widths, fit_gac, new_contestants
from pipeline.training.gac_losses import classifier_loss, generator_loss


def bare(contestants: Contestants, images: Tensor, labels: Tensor, batch_size: int, lambda_: float) -> None:
    """The passes of an epoch, and nothing else."""
    attacker, gac = contestants.generator, contestants.classifiers[GAC]
    control, noise = contestants.classifiers[CONTROL], contestants.classifiers[NOISE]
    for model in (attacker, gac, control, noise):
        model.train()
    for originals, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        with frozen(gac):
            generated = attacker(originals)
            generator_loss(gac(generated), truth, generated, originals, lambda_).backward()
        with torch.no_grad():
            generated = attacker(originals)
        classifier_loss(gac(originals), gac(generated), truth).backward()
        cross_entropy(control(originals), truth).backward()
        classifier_loss(noise(originals), noise(generated), truth).backward()


def measure(study: Study, family: str, count: int, rounds: int) -> dict[str, Any]:
    device = choose_device()
    block = learning_arguments(study, family, load_defense("gac"))
    lambda_ = block.get("lambda_", AUTO)
    training = {**vars(block["training"]), "epochs": 1, "lambda_": block["lambdas"][0] if lambda_ == AUTO else lambda_}
    path = study.path("images")
    split, classes = read_split(path, "train"), len(read_description(path).class_names)
    images = torch.from_numpy(split.images[:count]).to(device)
    labels = torch.from_numpy(split.labels[:count]).to(device, torch.int64)
    widths = Widths(block["version"], block["generator_widths"], block["classifier_widths"])
    contestants = new_contestants(widths, images, classes, (0, "benchmark"))
    whole = to_unit_interval(images, contestants.generator)

    def epoch() -> None:
        draws = generator(device, 0, "order"), generator(device, 0, "noise")
        for _ in fit_gac(contestants, images, labels, {}, 0, *draws, **training):
            pass

    def passes() -> None:
        bare(contestants, whole, labels, training["batch_size"], training["lambda_"])

    taken: dict[str, list[float]] = {"epoch": [], "passes": []}
    for _ in range(rounds + 1):
        for name, run in (("passes", passes), ("epoch", epoch)):
            taken[name].append(seconds(run))
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    return {
        "family": family,
        "study": study.name,
        **about(),
        "images": count,
        "epoch_seconds": round(medians["epoch"], 3),
        "passes_seconds": round(medians["passes"], 3),
        "ratio": round(medians["epoch"] / medians["passes"], 3),
    }


def main() -> None:
    arguments = options(__doc__, study="mnist", images=6400, rounds=3)
    keep_freed_memory()
    records = []
    study = Study(arguments.study)
    for family in (family for family in study.families if study.method(family) == "gac"):
        records.append(measure(study, family, arguments.images, arguments.rounds))
        print(records[-1], flush=True)
    write("gac", records)


if __name__ == "__main__":
    main()
