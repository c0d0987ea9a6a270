"""What holds for every attack of `pipeline/attacks`, whatever its method: towards targets, away from labels, and
against a model of several passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pipeline.attacks
from pipeline.attacks.shared.budgets import within_threat
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.errors import PipelineError
from pipeline.models.cnn import Classifier
from pipeline.params import arguments_for, parameters_of

ATTACKS = sorted(path.stem for path in Path(*pipeline.attacks.__path__).glob("*.py") if path.stem != "__init__")
THREAT = {"linf": 0.2, "l2": 1.5, "l0": 0.2}
# By parameter, of those without a default: few steps, and no random start, whose numbers are drawn by batch.
SMALL: dict[str, Any] = {
    "norm": "linf", "step_size": 0.05, "relative_step_size": 0.2, "steps": 5, "max_steps": 15, "extra_steps": 3,
    "queries": 5, "positions_per_step": 2, "random_start": False, "name": "LinfMomentumIterativeFastGradientMethod",
    "arguments": {"steps": 3},
}  # fmt: skip
WAYS = ("targeted", "untargeted", "evasion")


class Passes(nn.Module):
    """A classifier as a defense of two passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([self.model(images), self.model(images.flip(3))], dim=1)


def attack_of(name: str) -> tuple[Attack, dict[str, Any]]:
    attack = load_attack(name)
    own = {key: value for key, value in SMALL.items() if key in parameters_of(attack.run)}
    return attack, arguments_for(attack.run, within_threat(attack, own, THREAT, name), name)


def goal_of(way: str, labels: Tensor) -> Goal:
    return Evasion(labels) if way == "evasion" else Goal(labels, targeted=way == "targeted")


@pytest.fixture(scope="module")
def network() -> Classifier:
    torch.manual_seed(3)
    return Classifier((1, 8, 8), 10, channels=(6, 12), dropout=0.2).double().train()


def run(
    attack: Attack, model: nn.Module, images: Tensor, goal: Goal, batch: int, seed: int = 1, **more: Any
) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return run_attack(attack, model, images, torch.arange(len(images)), goal, batch, generator=draws, **more)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ATTACKS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 5), batch=st.integers(1, 4))
def test_shape_box_inputs_and_batches(
    network: Classifier, name: str, way: str, seed: int, count: int, batch: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (count,), generator=generator)
    before = images.clone(), labels.clone()
    model = Passes(network) if way == "evasion" else network
    attack, more = attack_of(name)
    goal = goal_of(way, labels)
    if not (attack.targeted if goal.targeted else attack.untargeted):
        with pytest.raises(PipelineError, match=f"^{name}: expected an attack that"):
            run(attack, model, images, goal, batch, **more)
        return
    found, steps = run(attack, model, images, goal, batch, **more)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert steps.shape == labels.shape
    assert (steps >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    bound = attack.budget_for(more)
    if bound:
        assert (size(found - images, bound.norm) <= more[bound.parameter] * (1 + 1e-6)).all()
    again, again_steps = run(attack, model, images, goal, batch, **more)
    assert torch.equal(found, again)
    assert torch.equal(steps, again_steps)
    # An image's result does not depend on its batch, where no numbers are drawn for a batch.
    others, _ = run(attack, model, images, goal, batch, seed=2, **more)
    if torch.equal(found, others):
        alone, alone_steps = run(attack, model, images[:1], goal.at(torch.tensor([0])), 1, **more)
        torch.testing.assert_close(found[:1], alone, rtol=0, atol=1e-12)
        assert torch.equal(steps[:1], alone_steps)


def size(perturbations: Tensor, norm: str) -> Tensor:
    """(n,); l0 as a share of positions."""
    if norm == "l0":
        return (perturbations != 0).any(1).flatten(1).double().mean(1)
    return perturbations.flatten(1).norm(torch.inf if norm == "linf" else float(norm[1:]), dim=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ATTACKS)
def test_model_is_left_as_it_was(network: Classifier, name: str, way: str) -> None:
    attack, more = attack_of(name)
    goal = goal_of(way, torch.arange(6))
    if not (attack.targeted if goal.targeted else attack.untargeted):
        return  # refused, as above
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    images = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    run(attack, Passes(network) if way == "evasion" else network, images, goal, 4, **more)
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
