"""What holds for every attack of `pipeline/attacks`, whatever its method."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline.attacks.engine import run_attack

from pipeline.models.classifier import Classifier
from pipeline.params import arguments_for, parameters_of, read_block
from pipeline.registry import load_by_name, split_method
from pipeline.stages import generate_adversarial

ROOT = Path(generate_adversarial.__file__).parents[2]
PARAMS = ROOT / "params.yaml"


def attack_of(name: str) -> tuple[ModuleType, dict[str, Any]]:
    """The attack and its digits block, with few steps and no random start; what it inherits is filled in."""
    key = f"other_attacks.{name}.digits" if name in OTHERS else f"attacks.{name}.digits"
    method, own = split_method(name, read_block(PARAMS, key), key)
    if name == "extended":
        own = {"step_size": read_block(PARAMS, "attacks.minimal.digits.step_size"), **own}
    few = {"max_steps": 15, "steps": 5}
    own = {key: few.get(key, value) for key, value in own.items()}
    attack = load_by_name("attacks", method)
    function = getattr(attack, method)
    if "random_start" in parameters_of(function):
        own["random_start"] = False  # random numbers are drawn by batch
    return attack, arguments_for(function, own, name)


OTHERS = list(read_block(PARAMS, "other_attacks"))
ATTACKS = [*read_block(PARAMS, "attacks"), *OTHERS]


@pytest.fixture(scope="module")
def network() -> Classifier:
    torch.manual_seed(3)
    return Classifier((1, 8, 8), 10, channels=(6, 12), dropout=0.2).double().train()


def run(
    attack: ModuleType, model: Classifier, images: torch.Tensor, targets: torch.Tensor, batch: int, **more: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    return run_attack(attack, model, images, torch.arange(len(images)), targets, batch, generator=draws, **more)


@pytest.mark.parametrize("name", ATTACKS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 12), batch=st.integers(1, 12))
def test_shape_box_inputs_and_batches(network: Classifier, name: str, seed: int, count: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(10, (count,), generator=generator)
    before = images.clone(), targets.clone()
    attack, more = attack_of(name)
    found, steps = run(attack, network, images, targets, batch, **more)
    assert found.shape == images.shape
    assert steps.shape == targets.shape
    assert (steps >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])
    # An image's result does not depend on its batch.
    alone, alone_steps = run(attack, network, images[:1], targets[:1], 1, **more)
    torch.testing.assert_close(found[:1], alone, rtol=0, atol=1e-12)
    assert torch.equal(steps[:1], alone_steps)


@pytest.mark.parametrize("name", ATTACKS)
def test_model_is_left_as_it_was(network: Classifier, name: str) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    attack, more = attack_of(name)
    run(attack, network, images, torch.arange(6), 4, **more)
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
