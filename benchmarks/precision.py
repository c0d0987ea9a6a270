"""Float32 and bfloat16 (`precision`) in turns, on one core: sets, stored, as a GPU's part `precision_*`; and trainings.

    DATASETS_DIR=data/raw python -m benchmarks.precision [--originals 30] [--parts sets uses]

`sets` writes benchmarks/results/precision.json; `uses` writes precision_uses.json: a classifier's training, an
adversarial one, an autoencoder's, the ascent on a whole defense. Classifiers of MNIST's and CIFAR-10's committed shape,
trained short, for the sets on 20,000 images, kept in .work/precision. By the process' own time, which other work on the
machine disturbs less; images/s are those of the attack with its storing.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import ROOT, about, options, write
from benchmarks.gpu_context import SMALL, Context
from benchmarks.gpu_generation import in_turns
from benchmarks.gpu_inputs import WORKLOADS, images_of, read
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings
from pipeline.attacks.shared.defended import Target
from pipeline.defenses.adversarial_training import Adversary
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.devices import batching, prepare_device
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.inference import for_inference, place, predict
from pipeline.models.pixels import unit_interval
from pipeline.models.precision import Precision
from pipeline.randomness import generator, seeded_initialization
from pipeline.training.autoencoder import Pairs, fit_autoencoder
from pipeline.training.classifier import Objective, divide, fit_classifier, new_classifier, plain

EPOCHS = {"mnist": 2, "cifar10": 5}


def main() -> None:
    arguments = options(__doc__, originals=30, parts=["sets", "uses"])
    device, work = prepare_device(), ROOT / ".work/precision"
    work.mkdir(parents=True, exist_ok=True)
    sets, found = [], []
    for name, epochs in EPOCHS.items():
        scale = replace(SMALL, train=20000, epochs=epochs, max_steps=None, originals=arguments.originals, seconds=0.5)
        context = Context(work, work, scale, device, time.process_time)
        if not (work / f"{name}_read.json").exists():
            read(context)
        if "sets" in arguments.parts:
            sets.append({**about(), "bfloat16": capabilities(), **in_turns(context, name)})
            write("precision", sets)
        if "uses" in arguments.parts:
            found += uses(context, name)
            write("precision_uses", {**about(), "bfloat16": capabilities(), "records": found})


def uses(context: Context, name: str) -> Iterator[dict[str, Any]]:
    """A record per use: seconds of the process' own time in both precisions, in turns, and what came of it."""
    workload = WORKLOADS[name]
    images, labels = (part[:6000] for part in images_of(context, name, "train"))
    test, truth = (torch.from_numpy(part[:2000]) for part in images_of(context, name, "test"))
    division = divide(images, labels, np.arange(len(images)) % 10 == 0, context.device)
    training = {**workload.training, "epochs": 2}

    def classifier(precision: Precision, objective: Objective = plain, epochs: int = 2) -> nn.Module:
        model = new_classifier(division.images, 10, (0, name), channels=workload.channels, dropout=0.1)
        arguments = {**training, "epochs": epochs, "precision": precision}
        for _ in fit_classifier(model, *division, generator(context.device, 0), objective=objective, **arguments):
            pass
        return for_inference(model, context.device)

    def accuracy(model: nn.Module) -> float:
        return (predict(model, test, 256).argmax(1) == truth).float().mean().item()

    def adversary() -> Adversary:
        return Adversary(
            generator(context.device, 1),
            norm="linf",
            epsilon=workload.epsilon,
            steps=5,
            relative_step_size=0.25,
            warmup=0.0,
        )

    attacked = classifier("float32")
    chosen = torch.arange(0, 1500)
    noisy = (unit_interval(division.images[chosen]) + 0.1 * torch.randn(division.images[chosen].shape)).clamp(0, 1)
    pairs = Pairs(
        lambda rows: noisy[rows], chosen, division.labels[chosen], division.images[chosen], division.labels[chosen]
    )

    def autoencoder(precision: Precision) -> float:
        with seeded_initialization(0, name):
            model = place(
                Autoencoder(division.images.shape[1:], channels=(16, 32, 64), dropout=0.1, residual=True),
                context.device,
            )
        epochs = fit_autoencoder(
            model, attacked, pairs, pairs, generator(context.device, 2), epochs=2, patience=2, batch_size=64,
            learning_rate=2e-3, clean_share=0.3, classifier_weight=0.1, flip=False, precision=precision,
        )  # fmt: skip
        return [epoch.reconstruction_error for epoch in epochs][-2]

    def ascent(precision: Precision) -> float:
        target = Target(
            dropout_ensemble, attacked, {"rate": 0.3}, partial(generator, context.device, 0), randomized=True, passes=10
        )
        settings = AdaptiveSettings(
            norm="linf", epsilons=(workload.epsilon / 2,), budget=workload.epsilon / 2, originals=50,
            sanity_originals=1, restarts=3, curve_restarts=1, draws=10, scored_draws=20, resubmissions=1, quiet=0.0,
            ascent={"method": "pgd", "steps": 10, "relative_step_size": 0.5}, shortest={"steps": 1},
            precision=precision,
        )  # fmt: skip
        attempts = attack_defense(target, None, test[:50], truth[:50].long(), batching(context.device).attack, settings)
        found = [attempt for attempt in attempts if attempt.attack in ("none", "pgd")]
        return 1 - sum(int(attempt.broken.sum()) for attempt in found) / 50

    for use, outcome, run in (
        ("training of a classifier", "test accuracy", lambda precision: accuracy(classifier(precision))),
        ("adversarial training", "test accuracy", lambda precision: accuracy(classifier(precision, adversary(), 1))),
        ("training of an autoencoder", "validation error", autoencoder),
        ("ascent on the dropout ensemble", "robust accuracy", ascent),
    ):
        record: dict[str, Any] = {"dataset": name, "use": use, "outcome": outcome}
        for _ in range(2):
            for precision in ("float32", "bfloat16"):
                started = time.process_time()
                record[f"{precision}_outcome"] = run(precision)
                taken = time.process_time() - started
                record[precision] = round(min(taken, record.get(precision, taken)), 2)
        print(record, flush=True)
        yield record


def capabilities() -> list[str]:
    """What of the CPU computes in bfloat16."""
    return [name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)]


if __name__ == "__main__":
    main()
