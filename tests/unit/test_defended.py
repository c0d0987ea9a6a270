"""A whole defense as an attack sees it: its passes, their gradient, what they cost, and the tripwires."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.defended import check_gradients, multiply_adds
from pipeline.attacks.shared.goals import Evasion
from pipeline.defenses.gaussian_blur import blur
from pipeline.defenses.undefended import undefended
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.cnn import Classifier
from pipeline.models.mlp import FullyConnectedClassifier
from tests.networks import Scaled
from tests.whole_defenses import masked, problem, target_of


def test_the_averaged_gradient_is_its_expectation() -> None:
    """Dropping half of the pixels and doubling the rest leaves W x unchanged on average."""
    model, images, labels = problem(5)
    draws = 4000
    target = target_of(masked, model, passes=1)
    logits, gradients = score_gradients(target.model(draws), images, Evasion(labels).score)
    assert logits.shape == (5, draws, 5)
    rival = logits.mean(1).scatter(1, labels[:, None], -torch.inf).argmax(1)
    expected = (model.weight[rival] - model.weight[labels]).view_as(images)
    # A mask is 0 or 2, of standard deviation 1: five standard errors.
    error = 5 * expected.abs() / draws**0.5
    assert ((gradients - expected).abs() <= error).all()
    one = score_gradients(target.model(1), images, Evasion(labels).score)[1]
    assert not ((one - expected).abs() <= error).all()


def test_only_a_randomized_defense_makes_as_many_passes_as_it_is_told() -> None:
    _, images, _ = problem(2)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    one, six = (multiply_adds(target_of(masked, linear, passes=3).model(draws), images) for draws in (1, 6))
    assert six == 6 * one > 0
    plain = target_of(undefended, linear)
    assert plain.passes == plain.model(6).draws == 1
    assert plain.model(6)(images).shape == (2, 1, 5)
    assert target_of(masked, linear, passes=3).model(6)(images).shape == (2, 6, 5)


@pytest.mark.parametrize(
    "model",
    [
        Classifier((3, 8, 8), 4, channels=(4, 8), dropout=0.1),
        FullyConnectedClassifier((3, 8, 8), 4, hidden=(9, 7)),
        Autoencoder((3, 8, 8), channels=(4, 8), dropout=0.1, residual=True),
    ],
)
def test_the_cost_is_what_pytorch_counts(model: nn.Module) -> None:
    images = torch.rand(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(blur(images, 0.7))
    assert multiply_adds(nn.Sequential(Blur(), model), images) == counter.get_total_flops() > 0


class Blur(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return blur(images, 0.7)


class Dead(Scaled):
    """Its outputs do not depend on the image: a gradient of zero."""

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1)[:, :5] > 0.5).to(images.dtype) * self.scale + 0 * images.flatten(1)[:, :5]


class Scores(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.model(images).softmax(1)
        return scores


def test_tripwires_see_what_they_are_for() -> None:
    model, images, labels = problem()

    def check(defense: Callable[..., Tensor], learned: nn.Module, draws: int = 1, passes: int = 0) -> dict[str, float]:
        return check_gradients(target_of(defense, learned, passes), draws, images, labels, 8)

    assert check(undefended, model) == {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0}
    assert check(undefended, Dead())["zero_gradients"] == 1.0
    assert check(undefended, Scores(model))["softmax"] == 1.0

    def secretly_random(learned: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        return masked(learned, images, generator, passes=1)

    assert check(secretly_random, model)["random"] > 0.9
    assert check(masked, model, draws=1, passes=5)["random"] > 0.9
    assert check(masked, model, draws=3, passes=5)["random"] == 0.0
