"""Foolbox's attacks: each ends in images, or in one line."""

import inspect
from typing import Any

import foolbox as library
import pytest
import torch
from torch import Tensor, nn

from pipeline.attacks.foolbox import attack as by_name
from pipeline.attacks.foolbox import foolbox
from pipeline.attacks.shared.goals import Goal
from pipeline.errors import PipelineError
from tests.networks import untrained

CLASSES = [
    name
    for name, kind in vars(library.attacks).items()
    if isinstance(kind, type) and issubclass(kind, library.attacks.base.Attack)
]
FEW = {
    "steps": 3, "binary_search_steps": 2, "directions": 3, "repeats": 3, "initial_gradient_eval_steps": 3,
    "max_gradient_eval_steps": 5, "num_translations": 2, "num_rotations": 2, "population": 4, "random_steps": 3,
    "distance": "l2",
}  # fmt: skip

TAKE_NO_TARGETS = {
    "FGM", "FGSM", "InversionAttack", "L1FastGradientAttack", "L2AdditiveGaussianNoiseAttack",
    "L2AdditiveUniformNoiseAttack", "L2ClippingAwareAdditiveGaussianNoiseAttack",
    "L2ClippingAwareAdditiveUniformNoiseAttack", "L2ContrastReductionAttack", "L2DeepFoolAttack",
    "L2FastGradientAttack", "LinfAdditiveUniformNoiseAttack", "LinfDeepFoolAttack", "LinfFastGradientAttack",
    "NewtonFoolAttack", "VirtualAdversarialAttack",
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, Tensor, Tensor]:
    return untrained()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Foolbox's, that it found little
@pytest.mark.parametrize("targeted", [True, False])
def test_every_attack_of_foolbox_ends_in_images_or_in_one_line(
    small: tuple[nn.Module, Tensor, Tensor], targeted: bool
) -> None:
    model, images, labels = small
    goal = Goal((labels + 1) % 4 if targeted else labels, targeted)
    before = images.clone()
    refused = {}
    for name in CLASSES:
        known = inspect.signature(getattr(library.attacks, name)).parameters
        block: dict[str, Any] = {"name": name, "arguments": {key: FEW[key] for key in FEW if key in known}}
        if issubclass(getattr(library.attacks, name), library.attacks.base.FixedEpsilonAttack):
            block["epsilon"] = 0.3
        try:
            bound = by_name.budget_for(block)
            found, steps = by_name(model, images, goal, torch.Generator().manual_seed(1), **block)
        except PipelineError as error:
            refused[name] = str(error)
            continue
        assert (bound is not None) == ("epsilon" in block), name
        assert found.shape == images.shape, name
        assert found.min() >= 0, name
        assert found.max() <= 1, name
        assert found.flatten(1).any(1).all(), name  # no black placeholder
        assert steps.tolist() == [0] * 3
    assert torch.equal(images, before)
    # What is refused, but for what needs a package, data or a place to start.
    assert all(words.startswith(f"foolbox:{name}: ") and "\n" not in words for name, words in refused.items())
    wrong_way = {name for name, words in refused.items() if ": expected an attack" in words}
    expected = TAKE_NO_TARGETS if targeted else {"GenAttack"}
    assert wrong_way == expected
    others = {"Attack", "BinarizationRefinementAttack", "DatasetAttack"}
    assert others <= set(refused) - wrong_way <= others | {name for name in CLASSES if "BrendelBethge" in name}


def test_a_budget_that_foolbox_counts_otherwise_is_refused() -> None:
    """Its L0 counts values, the budgets of a study are shares of the positions."""
    block = {"name": "L0FMNAttack", "arguments": {}, "epsilon": 20}
    with pytest.raises(PipelineError, match="epsilon: expected an attack in l1, l2 or linf, found l0"):
        by_name.budget_for(block)
    assert by_name.budget_for({"name": "L0FMNAttack", "arguments": {}}) is None


def test_what_foolbox_did_not_find_is_the_original_and_a_failure(small: tuple[nn.Module, Tensor, Tensor]) -> None:
    """Its placeholder is a black image: here even one of the class that was asked for."""
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), small[1]
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.01], [-0.01]]).expand(2, 64))
        model[1].bias.copy_(torch.tensor([-0.1, 0.1]))
    goal = Goal(torch.ones(3, dtype=torch.int64))
    assert goal.reached(model(torch.zeros_like(images))).all()
    assert not goal.reached(model(images)).any()
    arguments = {"steps": 1, "binary_search_steps": 1}
    for epsilon in (None, 0.5):
        found, _ = foolbox(
            model, images, goal, torch.Generator(), name="L2CarliniWagnerAttack", arguments=arguments, epsilon=epsilon
        )
        assert torch.equal(found, images)
