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
from pipeline.params import arguments_for, read_block
from pipeline.registry import load_by_name
from pipeline.stages import generate_adversarial

ROOT = Path(generate_adversarial.__file__).parents[2]
PARAMS = ROOT / "params.yaml"


def arguments(name: str) -> dict[str, Any]:
    """The digits block of the attack, with few steps; what it inherits from `minimal` filled in."""
    own = dict(read_block(PARAMS, f"attacks.{name}.digits"))
    if name == "extended":
        own = {"step_size": read_block(PARAMS, "attacks.minimal.digits.step_size"), **own}
    if "max_steps" in own:
        own["max_steps"] = 15
    return arguments_for(getattr(load_by_name("attacks", name), name), own, name)


ATTACKS = sorted(read_block(PARAMS, "attacks"))


@pytest.fixture(scope="module")
def network() -> Classifier:
    torch.manual_seed(3)
    return Classifier((1, 8, 8), 10, channels=(6, 12), dropout=0.2).double().train()


def run(
    attack: ModuleType, model: Classifier, images: torch.Tensor, targets: torch.Tensor, batch: int, **more: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    return run_attack(attack, model, images, torch.arange(len(images)), targets, batch, **more)


@pytest.mark.parametrize("name", ATTACKS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 12), batch=st.integers(1, 12))
def test_shape_box_inputs_and_batches(network: Classifier, name: str, seed: int, count: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(10, (count,), generator=generator)
    before = images.clone(), targets.clone()
    attack, more = load_by_name("attacks", name), arguments(name)
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
    run(load_by_name("attacks", name), network, images, torch.arange(6), 4, **arguments(name))
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
