"""Square and AutoAttack."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.attacks.autoattack import autoattack
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.protocol import load_attack
from pipeline.attacks.square import square
from pipeline.errors import PipelineError
from tests.networks import untrained
from tests.seeds import seeded
from tests.whole_defenses import problem, smallest


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_outside_attacks_break_what_can_be_broken(classes: int) -> None:
    model, images, labels = problem(classes=classes)
    distance = smallest(model, images, labels, 1)
    epsilon = 0.01
    about: dict[str, Any] = {"norm": "linf", "epsilon": epsilon}
    randomized, goal = (Goal(labels, targeted=False, randomized=randomized) for randomized in (True, False))
    for found, _ in (
        square(model, images, goal, seeded(), queries=100, **about),
        autoattack(model, images, randomized, seeded(), steps=20, queries=20, **about),
        autoattack(model, images, goal, seeded(), steps=20, queries=20, **about),
    ):
        assert (found - images).abs().max() <= epsilon + 1e-6
        broken = model(found).argmax(1) != labels
        assert not broken[distance > epsilon * 1.01].any()
    assert broken[distance < epsilon * 0.9].all()


@pytest.mark.parametrize("way", [Goal, Evasion])
def test_outside_attacks_leave_labels_and_refuse_targets(way: type[Goal]) -> None:
    model, images, labels = untrained()
    if way is Evasion:
        model = nn.Sequential(model, nn.Unflatten(1, (1, 4)))
    goal = way(labels, targeted=False)
    for function in (square, autoattack):
        more: dict[str, Any] = {"norm": "linf", "epsilon": 0.5, "queries": 60}
        found, _ = function(model, images, goal, torch.Generator().manual_seed(1), **more)
        assert goal.reached(model(found)).all()
        with pytest.raises(PipelineError, match=f"^{function.__name__}: expected an attack that takes targets"):
            load_attack(function.__name__)(model, images, Goal(labels), torch.Generator(), **more)
