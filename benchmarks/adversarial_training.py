"""What longer adversarial training buys, and what TRADES or averaged weights do: on validation images, nothing else.

    python -m benchmarks.adversarial_training [--study cifar10] [--configurations few_steps trades_20] [--images 1000]

Trains the study's network from scratch by its block `adversarial_training`, once a configuration of `CONFIGURATIONS`
(what it changes in the block), and measures it on held-out training images: accuracy without attack, and under PGD at
the budget (20 steps, 2 restarts) of the first `images`. Up to hours of one core a configuration. Adds each to
benchmarks/results/adversarial_training.json, with the processor time of its training.
"""

import dataclasses
import json
import time
from typing import Any

from torch import Tensor, nn

from benchmarks.common import RESULTS, about, options, write
from pipeline.artifacts.images import read_description, read_split
from pipeline.attacks.pgd import pgd
from pipeline.attacks.shared.goals import Goal
from pipeline.defenses.adversarial_training import Adversary
from pipeline.defenses.protocol import load_defense
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.metrics.splits import validation_mask
from pipeline.models.inference import to_unit_interval
from pipeline.models.modes import frozen
from pipeline.randomness import generator
from pipeline.stages.families import learning_arguments
from pipeline.studies import Study
from pipeline.training.classifier import divide, fit_classifier, new_classifier

FAMILY, BATCH = "adversarial_training", 250
FEW = {"steps": 3, "relative_step_size": 0.5}
CONFIGURATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "as it is": {},
    "few_steps": {"adversary": FEW},
    "few_steps_averaged": {"adversary": FEW, "training": {"averaging": 0.999}},
    "few_steps_20": {"adversary": FEW, "training": {"epochs": 20, "averaging": 0.999}},
    "few_steps_60": {"adversary": FEW, "training": {"epochs": 60, "averaging": 0.999}},
    "trades_8": {"adversary": {**FEW, "trades": 6}, "training": {"averaging": 0.999}},
    "trades_20": {"adversary": {**FEW, "trades": 6}, "training": {"epochs": 20, "averaging": 0.999}},
    "trades_60": {"adversary": {**FEW, "trades": 6}, "training": {"epochs": 60, "averaging": 0.999}},
}


def robust_accuracy(model: nn.Module, images: Tensor, labels: Tensor, adversary: Adversary) -> float:
    """Of uint8 images, under PGD at the adversary's budget."""
    right = 0
    draws = generator(images.device, 0, "benchmark", "validation")
    with frozen(model):
        for some, truth in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            attacked, _ = pgd(
                model, to_unit_interval(some, model), Goal(truth, targeted=False), draws, norm=adversary.norm,
                epsilon=adversary.epsilon, relative_step_size=0.25, steps=20, restarts=2,
            )  # fmt: skip
            right += int((model(attacked).argmax(1) == truth).sum())
    return right / len(images)


def measure(study: Study, changes: dict[str, dict[str, Any]], count: int) -> dict[str, Any]:
    device = choose_device()
    path = study.path("images")
    split, classes = read_split(path, "train"), len(read_description(path).class_names)
    division = divide(split.images, split.labels, validation_mask(split.labels, study.seed, study.source), device)
    block = learning_arguments(study, FAMILY, load_defense(FAMILY))
    adversary = dataclasses.replace(block["adversary"], **changes.get("adversary", {}))
    training = dataclasses.replace(block["training"], **changes.get("training", {}))
    architecture = {**study.arguments(study.kind, "classifier.architecture"), "dropout": 0.0}
    names = study.seed, study.source, FAMILY
    model = new_classifier(division.images, classes, names, study.kind, **architecture)
    objective = Adversary(generator(device, *names, "adversary"), **vars(adversary))
    some, labels = division.validation_images[:count], division.validation_labels[:count]
    started, epochs = time.process_time(), []
    for epoch in fit_classifier(
        model, *division, generator(device, *names, "training"), objective=objective, **vars(training)
    ):
        epochs.append(epoch)
        print(vars(epoch), round(time.process_time() - started), flush=True)
    spent = time.process_time() - started
    some, labels = division.validation_images[:count], division.validation_labels[:count].long()
    return {
        "adversary": vars(adversary),
        "training": vars(training),
        "core_seconds": round(spent),
        "accuracy": round(epochs[-1].accuracy, 4),
        "robust_accuracy": round(robust_accuracy(model, some, labels, objective), 4),
        "images": len(some),
    }


def main() -> None:
    arguments = options(__doc__, study="cifar10", configurations=list(CONFIGURATIONS), images=1000)
    keep_freed_memory()
    study = Study(arguments.study)
    for name in arguments.configurations:
        found = measure(study, CONFIGURATIONS[name], arguments.images)
        print(name, found, flush=True)
        path = RESULTS / "adversarial_training.json"  # read here: another process may have added to it
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        record.setdefault(study.name, {})[name] = {**about(), **found}
        write("adversarial_training", record)


if __name__ == "__main__":
    main()
