"""Defenses on a device: an ensemble that judges stored images, adaptive attacks on it, adversarial training."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.gpu_context import Context, guarded, save
from benchmarks.gpu_inputs import WORKLOADS, fitted, images_of, pairs_of
from pipeline import devices
from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.defenses.adversarial_training import Adversary
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.devices import batching
from pipeline.metrics.splits import validation_mask
from pipeline.metrics.votes import summarize_passes
from pipeline.models.inference import for_inference, predict, to_unit_interval
from pipeline.randomness import generator
from pipeline.training.classifier import divide, fit_classifier, new_classifier


class Passes(nn.Module):
    """The dropout ensemble as a model: images to the logits of all its passes, (n, passes, k)."""

    def __init__(self, model: nn.Module, draws: torch.Generator, passes: int, rate: float) -> None:
        super().__init__()
        self.model = model
        self.about = {"passes": passes, "rate": rate}
        self.draws = draws

    def forward(self, images: Tensor) -> Tensor:
        return dropout_ensemble(self.model, images, self.draws, **self.about)


@contextmanager
def pass_at_a_time(device: torch.device) -> Iterator[None]:
    before = devices.TABLE[device.type]
    devices.TABLE[device.type] = replace(before, folded=0)
    try:
        yield
    finally:
        devices.TABLE[device.type] = before


def defenses(context: Context) -> dict[str, Any]:
    """An ensemble judged on stored images, and adaptive attacks on it, on the plain and on a robust classifier."""
    records: dict[str, Any] = {}
    for name in WORKLOADS:
        records[f"ensemble_{name}"] = guarded(lambda n=name: judge_ensemble(context, n))
        save(context, "defenses", records)
    for name in WORKLOADS:
        records[f"adaptive_{name}"] = guarded(lambda n=name: adaptive(context, n))
        save(context, "defenses", records)
    records["robust_mnist"] = guarded(lambda: robust(context, "mnist"))
    return records


def judge_ensemble(context: Context, name: str) -> dict[str, Any]:
    """Ten passes over every minimal image of the test split, and their votes."""
    path = context.work / f"{name}_minimal.h5"
    if not path.exists():
        return {"error": "the part generation left no set"}
    model = for_inference(fitted(context, name, {})[0], context.device)
    with open_adversarial(path) as set_:
        sources = set_.sources
        rows = np.flatnonzero(set_.is_adversarial & (sources.source_split[sources.original_row] == TEST))
        images = torch.from_numpy(set_.images(rows))
        labels, targets = sources.labels[rows], sources.target_labels[rows]
    size, about = batching(context.device).predict, {"passes": 10, "rate": WORKLOADS[name].rate}

    def run() -> NDArray[np.int64]:
        votes = []
        with torch.inference_mode():
            for index, batch in enumerate(images.split(size)):
                draws = generator(context.device, 0, name, "ensemble", index)
                logits = dropout_ensemble(model, to_unit_interval(batch, model), draws, **about)
                votes.append(summarize_passes(logits)["predicted"])
        return torch.cat(votes).cpu().numpy()

    found: list[NDArray[np.int64]] = []
    run()
    seconds = {"folded": context.seconds(lambda: found.append(run()))}
    with pass_at_a_time(context.device):
        run()
        seconds["pass_at_a_time"] = context.seconds(lambda: found.append(run()))
    return {
        "images": len(images), **about, "batch_size": size,
        "images_per_second": {key: round(len(images) / value) for key, value in seconds.items()},
        "thwarted": [float((votes != targets).mean()) for votes in found],
        "recovered": [float((votes == labels).mean()) for votes in found],
    }  # fmt: skip


def adaptive(context: Context, name: str) -> dict[str, Any]:
    """PGD within the study's Linf budget: on the classifier, and in expectation over ten draws on its ensemble."""
    pairs, workload = pairs_of(context, name, context.scale.attacked), WORKLOADS[name]
    originals = to_unit_interval(pairs.originals, pairs.model)
    settings = {"epsilon": workload.epsilon, "relative_step_size": 0.1, "steps": 20, "restarts": 1}

    def attack(draws: int) -> Tensor:
        size = max(1, batching(context.device).attack // max(1, draws))
        broken = []
        for index, rows in enumerate(torch.arange(len(originals), device=context.device).split(size)):
            random = generator(context.device, 0, name, "adaptive", index)
            labels = pairs.labels[rows]
            model = Passes(pairs.model, random, draws, workload.rate) if draws else pairs.model
            goal = Evasion(labels) if draws else Goal(labels, targeted=False)
            found, _ = projected_gradient_descent(
                model, originals[rows], goal, random, BALLS["linf"], random_start=True, decay=True, **settings
            )
            judged = Passes(pairs.model, random, 50, workload.rate) if draws else None
            with torch.no_grad():
                said = summarize_passes(judged(found))["predicted"] if judged else pairs.model(found).argmax(1)
            broken.append(said != labels)
        return torch.cat(broken)

    def timed(draws: int) -> dict[str, Any]:
        found: list[Tensor] = []
        attack(draws)
        taken = context.seconds(lambda: found.append(attack(draws)))
        return {"draws": draws, "broken": float(found[0].float().mean()), "seconds": round(taken, 3)}

    record = {"originals": len(originals), **settings, "classifier": timed(0), "ensemble": timed(10)}
    with pass_at_a_time(context.device):
        return {**record, "ensemble_pass_at_a_time": timed(10)}


def robust(context: Context, name: str) -> dict[str, Any]:
    """Adversarial training for a few epochs, and PGD on what came of it."""
    workload, device, times = WORKLOADS[name], context.device, {}
    images, labels = images_of(context, name, "train")
    division = divide(images, labels, validation_mask(labels, 0, name), device)
    model = new_classifier(division.images, 10, (0, name, "robust"), channels=workload.channels, dropout=0.0)
    adversary = Adversary(
        generator=generator(device, 0, name, "robust", "adversary"), norm="linf", epsilon=workload.epsilon, steps=7,
        relative_step_size=0.25, warmup=0.5, trades=0.0,
    )  # fmt: skip
    training = {**workload.training, "epochs": max(1, round(context.scale.training * context.scale.robust_epochs))}
    with context.timing(times, "train"):
        draws = generator(device, 0, name, "robust", "training")
        epochs = list(fit_classifier(model, *division, draws, objective=adversary, **training))
    ready = for_inference(model, device)
    test_images, truth = images_of(context, name, "test")
    originals = to_unit_interval(torch.from_numpy(test_images[: context.scale.attacked]), ready)
    wanted = torch.from_numpy(truth[: context.scale.attacked]).to(device, torch.int64)
    with context.timing(times, "attack"):
        found, _ = projected_gradient_descent(
            ready, originals, Goal(wanted, targeted=False), generator(device, 0, name, "robust", "attack"),
            BALLS["linf"], epsilon=workload.epsilon, relative_step_size=0.1, steps=40, restarts=1, random_start=True,
        )  # fmt: skip
    right = (predict(ready, found, 4096).argmax(1) == wanted).float().mean()
    return {
        "epochs": training["epochs"], "validation_accuracy": epochs[-1].accuracy, "robust_accuracy": float(right),
        "images_per_second": round(training["epochs"] * len(division.images) / times["train"]),
        "seconds": {key: round(value, 2) for key, value in times.items()},
    }  # fmt: skip
