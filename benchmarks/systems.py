"""This project's engine and the attack libraries, with the parameters that benchmarks/generation.py tries them with."""

import importlib
import itertools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import foolbox
import numpy as np
import torch
import torchattacks
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from benchmarks.common import Pairs
from benchmarks.tables import LOW
from pipeline.attacks import minimal, minimum_norm
from pipeline.attacks.shared.balls import L2
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.outside import Contiguous as ForPeers
from pipeline.attacks.shared.protocol import Attack
from pipeline.devices import batching, check_bfloat16, choose_device
from pipeline.errors import PipelineError
from pipeline.models.modes import frozen

# Of one step of the same rule; radii, step lengths and numbers of steps that the systems are tried with.
SAME_RULE = {"digits": 0.05, "mnist": 0.1, "cifar10": 0.03}
TRIED: dict[str, dict[str, list[float]]] = {
    "digits": {"gradient": [0.16, 0.08, 0.04, 0.02, 0.01], "length": [0.8, 0.4, 0.2, 0.1, 0.05], "radius": [1.5, 2, 3]},
    "mnist": {
        "gradient": [0.8, 0.4, 0.2, 0.1, 0.05, 0.025],
        "length": [3, 2, 1, 0.5, 0.25, 0.1],
        "radius": [3, 4, 5],
    },
    "cifar10": {
        "gradient": [0.08, 0.04, 0.02, 0.01, 0.005],
        "length": [1, 0.5, 0.25, 0.12, 0.06],
        "radius": [1, 1.5, 2, 3],
    },
}
WALKS = (20, 40, 100)  # steps of the minimum-norm attacks of the peers
OURS = (6, 8, 10, 13, 16, 20, 30, 40)  # and of ours
BATCHES = (64, 256)


@dataclass(frozen=True)
class Run:
    """One system with one set of parameters: pairs to adversarial images (n, c, h, w)."""

    system: str
    attack: Callable[[Pairs], Tensor]
    parameters: dict[str, Any] = field(default_factory=dict)


class LogProbabilities(nn.Module):
    """The classifier's scores as log-probabilities: the target's is minus the cross-entropy."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return log_softmax(self.model(images), 1)


def step_of_length(images: Tensor, gradients: Tensor, *, length: float) -> Tensor:
    return (images + length * L2().direction(gradients)).clamp_(0, 1)


def ours(pairs: Pairs, update: Callable[..., Tensor], log: bool, **arguments: Any) -> Tensor:
    """The engine, with the update of an attack that stops at the first success."""
    attack = replace(minimal.attack, first_success_update=update)
    return attacked(attack, LogProbabilities(pairs.model) if log else pairs.model, pairs, **arguments)[0]


def attacked(attack: Attack, model: nn.Module, pairs: Pairs, **arguments: Any) -> tuple[Tensor, Tensor]:
    size = batching(choose_device()).attack
    return run_attack(attack, model, pairs.originals, pairs.rows, Goal(pairs.targets), size, **arguments)


def ours_shortest(pairs: Pairs, steps: int) -> Tensor:
    return attacked(minimum_norm.attack, pairs.model, pairs, steps=steps)[0]


def in_batches(pairs: Pairs, size: int, attack: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Tensor:
    """A peer's attack over all pairs, `size` at a time."""
    model = ForPeers(pairs.model)
    with frozen(model):
        parts = zip(pairs.images.split(size), pairs.targets.split(size), strict=True)
        return torch.cat([attack(model, *part).detach() for part in parts])


def torchattacks_pgd(model: nn.Module, images: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    attack = torchattacks.PGDL2(model, random_start=False, **arguments)
    attack.set_mode_targeted_by_label(quiet=True)
    return attack(images, targets)


def of_foolbox(
    kind: str, model: nn.Module, images: Tensor, targets: Tensor, epsilon: float | None, **arguments: Any
) -> Tensor:
    bounded = foolbox.models.PyTorchModel(model, bounds=(0, 1), device=images.device)
    criterion = foolbox.criteria.TargetedMisclassification(targets)
    attack = getattr(foolbox.attacks, kind)(**arguments)
    _, found, _ = attack(bounded, images, criterion, epsilons=epsilon)
    return found


def basic_iterative(
    model: nn.Module, images: Tensor, targets: Tensor, epsilon: float, length: float, steps: int
) -> Tensor:
    rest = {"abs_stepsize": length, "steps": steps, "random_start": False}
    return of_foolbox("L2BasicIterativeAttack", model, images, targets, epsilon, **rest)


def art_pgd(model: nn.Module, images: Tensor, targets: Tensor, classes: int, **arguments: Any) -> Tensor:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    estimator = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        tuple(images.shape[1:]),
        classes,
        clip_values=(0, 1),
        device_type=images.device.type,
    )
    attack = ProjectedGradientDescent(
        estimator, norm=2, targeted=True, num_random_init=0, batch_size=len(images), verbose=False, **arguments
    )
    wanted = np.eye(classes, dtype=np.float32)[targets.cpu().numpy()]
    return torch.from_numpy(attack.generate(images.cpu().numpy(), wanted)).to(images.device)


def of_adv_lib(name: str, model: nn.Module, images: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    # It imports visdom to draw curves of its own, which does not install here; nothing of it is called.
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))
    attacks = importlib.import_module("adv_lib.attacks")
    found: Tensor = getattr(attacks, name)(model, images, targets, targeted=True, **arguments)
    return found


def descents(classes: int, radius: float, length: float, steps: int) -> dict[str, Callable[..., Tensor]]:
    """The peers' steps of one length in a ball, from the image itself."""
    return {
        "torchattacks PGDL2": partial(torchattacks_pgd, eps=radius, alpha=length, steps=steps),
        "Foolbox L2BasicIterativeAttack": partial(basic_iterative, epsilon=radius, length=length, steps=steps),
        "ART PGD, norm 2": partial(art_pgd, classes=classes, eps=radius, eps_step=length, max_iter=steps),
    }


def same_rule(study: str, classes: int, steps: int) -> Iterator[Run]:
    """`steps`: what the slowest images need. The radius: one that no perturbation reaches."""
    length = SAME_RULE[study]
    yield from ours_on_the_rule(length)
    for size, (system, attack) in itertools.product(BATCHES, descents(classes, 1000.0, length, steps).items()):
        rest = {"steps": steps, "length": length, "batch_size": size}
        yield Run(system, partial(in_batches, size=size, attack=attack), rest)


def ours_on_the_rule(length: float) -> Iterator[Run]:
    """The engine with steps of one length; in bfloat16 too, where the device has it."""
    run, at = _normalized(length)
    yield Run("ours-normalized", run, at)
    with suppress(PipelineError):
        check_bfloat16(choose_device())
        yield Run(LOW, partial(run, precision="bfloat16"), at)


def _normalized(length: float) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    at = {"length": length, "max_steps": 10000}
    return partial(ours, update=step_of_length, log=True, **at), at


MINIMUM_NORM: dict[str, Callable[..., Tensor]] = {
    "Foolbox DDN": partial(of_foolbox, "DDNAttack", epsilon=None),
    "Foolbox FMN": partial(of_foolbox, "L2FMNAttack", epsilon=None),
    "adv-lib DDN": partial(of_adv_lib, "ddn"),
    "adv-lib FMN": partial(of_adv_lib, "fmn", norm=2),
}


def walk(system: str, steps: int, size: int) -> Run:
    """A peer's minimum-norm attack."""
    attack = partial(MINIMUM_NORM[system], steps=steps)
    return Run(system, partial(in_batches, size=size, attack=attack), {"steps": steps, "batch_size": size})


def best(study: str, classes: int, sizes: Mapping[str, int]) -> Iterator[Run]:
    """`sizes`: of each peer's batches."""
    tried = TRIED[study]
    for step_size in tried["gradient"]:
        at = {"step_size": step_size, "max_steps": 15000}
        yield Run("ours", partial(ours, update=minimal.attack.first_success_update, log=False, **at), at)
    for length in tried["length"]:
        yield Run("ours-normalized", *_normalized(length))
    for steps in OURS:
        yield Run("ours-minimum_norm", partial(ours_shortest, steps=steps), {"steps": steps})
    for steps, system in itertools.product(WALKS, MINIMUM_NORM):
        yield walk(system, steps, sizes[system])
    for radius in tried["radius"]:
        for share, steps in ((0.5, 5), (0.3, 10), (0.2, 20), (0.1, 40)):
            length = share * radius
            for system, attack in descents(classes, radius, length, steps).items():
                rest = {"radius": radius, "length": round(length, 4), "steps": steps, "batch_size": sizes[system]}
                yield Run(system, partial(in_batches, size=sizes[system], attack=attack), rest)
