"""What longer adversarial training buys, and what TRADES or averaged weights do: on validation images, nothing else.

    python -m benchmarks.adversarial_training [--study cifar10] [--configurations few_steps_8 trades_20] [--images 1000]
        [--precision bfloat16]

Lets the study's block `adversarial_training` learn, once a configuration of `CONFIGURATIONS` (what it changes in the
block), and measures the network on the first `images` of the held-out training images: accuracy without attack, under
PGD at the budget (20 steps, 2 restarts), and where margins are raised too, towards one other class after the other
(20 steps, 9 restarts), as against whole defenses. Digits take some 10 s of one core a configuration. Adds each to
benchmarks/results/adversarial_training.json, with the processor time of its training.
"""

import dataclasses
import json
import time
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from benchmarks.common import RESULTS, about, options, write
from pipeline.attacks.pgd import pgd
from pipeline.attacks.shared.defended import Target
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.defenses.adversarial_training import AdversarySettings
from pipeline.defenses.protocol import load_defense
from pipeline.defenses.undefended import undefended
from pipeline.devices import keep_freed_memory
from pipeline.models.inference import predict, to_unit_interval
from pipeline.models.modes import frozen
from pipeline.models.precision import Precision
from pipeline.randomness import generator
from pipeline.stages.families import learning_arguments, materials_of
from pipeline.studies import Study

FAMILY, BATCH = "adversarial_training", 250
FEW, MANY = {"steps": 3, "relative_step_size": 0.5}, {"steps": 7, "relative_step_size": 0.25}


def _changes(steps: dict[str, Any], epochs: int, trades: float, averaging: float) -> dict[str, dict[str, Any]]:
    return {"adversary": {**steps, "trades": trades}, "training": {"epochs": epochs, "averaging": averaging}}


# Whole, so that a name means the same whatever the study's block says.
CONFIGURATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "as_it_is": {},
    "many_steps_8": _changes(MANY, 8, 0, 0),
    "many_steps_20": _changes(MANY, 20, 0, 0.999),
    "few_steps_8": _changes(FEW, 8, 0, 0),
    "few_steps_averaged_8": _changes(FEW, 8, 0, 0.999),
    "few_steps_20": _changes(FEW, 20, 0, 0.999),
    "few_steps_60": _changes(FEW, 60, 0, 0.999),
    "trades_8": _changes(FEW, 8, 6, 0.999),
    "trades_20": _changes(FEW, 20, 6, 0.999),
    "trades_60": _changes(FEW, 60, 6, 0.999),
}


def robust_accuracies(
    model: nn.Module, images: Tensor, labels: Tensor, adversary: AdversarySettings
) -> tuple[float, float]:
    """Of uint8 images, at the adversary's budget: under PGD, and of those under margins too."""
    under_pgd, under_both = 0, 0
    draws, margins = (generator(images.device, 0, "benchmark", name) for name in ("validation", "margins"))
    attack = partial(pgd, norm=adversary.norm, epsilon=adversary.epsilon, steps=20)
    whole = Target(undefended, model, {}, partial(generator, images.device, 0, "benchmark")).model(1, "passes")
    with frozen(model):
        for some, truth in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            plain = to_unit_interval(some, model)
            attacked, _ = attack(
                model, plain, Goal(truth, targeted=False), draws, relative_step_size=0.25, restarts=2
            )  # fmt: skip
            right = model(attacked).argmax(1) == truth
            under_pgd += int(right.sum())
            attacked, _ = attack(
                whole, plain[right], Evasion(truth[right]), margins, relative_step_size=0.5, restarts=9
            )  # fmt: skip
            under_both += int((model(attacked).argmax(1) == truth[right]).sum())
    return under_pgd / len(images), under_both / len(images)


def measure(study: Study, changes: dict[str, dict[str, Any]], count: int, precision: str) -> dict[str, Any]:
    materials, defense = materials_of(study, FAMILY), load_defense(FAMILY)
    changes = {**changes, "training": {"precision": precision, **changes.get("training", {})}}
    block = {
        name: dataclasses.replace(settings, **changes.get(name, {}))
        for name, settings in learning_arguments(study, FAMILY, defense).items()
    }
    assert defense.learn is not None
    started = time.process_time()
    model = defense.learn(materials, **block).models[""].eval()
    spent = time.process_time() - started
    images, labels = (
        torch.from_numpy(values[materials.held_out][:count]).to(materials.device) for values in materials.split("train")
    )
    robust, worst = robust_accuracies(model, images, labels.long(), block["adversary"])
    return {
        **{name: vars(settings) for name, settings in block.items()},
        "core_seconds": round(spent),
        "images": len(images),
        "accuracy": round((predict(model, images, BATCH).argmax(1) == labels).float().mean().item(), 4),
        "robust_accuracy": round(robust, 4),
        "worst_accuracy": round(worst, 4),
    }


def main() -> None:
    arguments = options(__doc__, study="cifar10", configurations=list(CONFIGURATIONS), images=1000, precision="float32")
    if unknown := set(arguments.configurations) - set(CONFIGURATIONS):
        raise SystemExit(f"--configurations: expected {', '.join(CONFIGURATIONS)}, found {', '.join(sorted(unknown))}")
    if arguments.precision not in get_args(Precision):
        raise SystemExit(f"--precision: expected {' or '.join(get_args(Precision))}, found {arguments.precision!r}")
    keep_freed_memory()
    study = Study(arguments.study)
    for name in arguments.configurations:
        found = measure(study, CONFIGURATIONS[name], arguments.images, arguments.precision)
        print(name, found, flush=True)
        path = RESULTS / "adversarial_training.json"  # read here: another process may have added to it
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        record.setdefault(study.name, {})[name] = {**about(), **found}
        write("adversarial_training", record)


if __name__ == "__main__":
    main()
