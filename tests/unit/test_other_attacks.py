"""The attacks beside the paper's: closed forms on a linear model."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from pipeline.attacks.ddn import ddn
from pipeline.attacks.fgsm import fgsm
from pipeline.attacks.jsma import jsma
from pipeline.attacks.minimum_norm import minimum_norm
from pipeline.attacks.shared.balls import L2, Linf
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.metrics.outcomes import margins
from tests.linear import Linear

SHAPE = (1, 4, 4)


def gray(model: Linear, generator: torch.Generator, count: int, spread: float = 0.02) -> tuple[Tensor, Tensor]:
    """Images around gray, so that nothing is clipped, near the boundary, and targets that are not predicted."""
    with torch.no_grad():
        model.bias -= model(torch.full((1, *SHAPE), 0.5, dtype=torch.float64))[0]
    images = 0.5 + spread * torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
    classes = len(model.bias)
    targets = (model(images).argmax(1) + torch.randint(1, classes, (count,), generator=generator)) % classes
    return images, targets


def test_fgsm_flips_exactly_where_the_closed_form_says(linear: Linear, generator: torch.Generator) -> None:
    """The lead over k grows by epsilon * sign(w_t) . (w_t - w_k)."""
    images, targets = gray(linear, generator, 300)
    weight = linear.weight.detach()
    logits = linear(images).detach()
    flipped = []
    for epsilon in (0.001, 0.01, 0.05):
        found, steps = fgsm(linear, images, Goal(targets), epsilon=epsilon)
        assert steps.tolist() == [1] * 300
        for i, target in enumerate(targets.tolist()):
            others = [k for k in range(4) if k != target]
            gains = [epsilon * weight[target].sign() @ (weight[target] - weight[k]) for k in others]
            expected = all(logits[i, target] - logits[i, k] + gain > 0 for k, gain in zip(others, gains, strict=True))
            assert bool(margins(linear(found[i : i + 1]), targets[i : i + 1]) > 0) == expected
            flipped.append(expected)
    assert 0.1 < np.mean(flipped) < 0.9


def smallest_norm(model: Linear, image: Tensor, target: int) -> float:
    """Norm of the smallest perturbation that makes the target lead: a quadratic program."""
    weight, logits = model.weight.detach().numpy(), model(image[None]).detach().numpy()[0]
    others = [k for k in range(len(logits)) if k != target]
    constraints = [
        {
            "type": "ineq",
            "fun": lambda p, k=k: logits[target] - logits[k] + (weight[target] - weight[k]) @ p,
            "jac": lambda p, k=k: weight[target] - weight[k],
        }
        for k in others
    ]
    solved = minimize(lambda p: p @ p, np.zeros(image.numel()), jac=lambda p: 2 * p, constraints=constraints)
    assert solved.success
    return float(np.sqrt(solved.fun))


def test_ddn_is_near_the_smallest_perturbation(generator: torch.Generator) -> None:
    """Two classes: the smallest is as long as the distance to the boundary."""
    model = Linear(generator, classes=2)
    images, targets = gray(model, generator, 40, spread=0.1)
    found, _ = ddn(model, images, Goal(targets), steps=200)
    smallest = -margins(model(images), targets).detach() / (model.weight[0] - model.weight[1]).detach().norm()
    lengths = (found - images).flatten(1).norm(dim=1)
    assert (margins(model(found), targets) > 0).all()
    assert (lengths >= smallest * 0.999).all()
    assert (lengths <= 1.25 * smallest).all()


def test_ddn_is_mostly_near_it_also_where_several_classes_meet(linear: Linear, generator: torch.Generator) -> None:
    """In corners between classes the gradient of the log-probability points past the nearest image, Foolbox's too."""
    images, targets = gray(linear, generator, 40, spread=0.1)
    found, _ = ddn(linear, images, Goal(targets), steps=100)
    assert (margins(linear(found), targets) > 0).all()
    lengths = (found - images).flatten(1).norm(dim=1).numpy()
    smallest = [smallest_norm(linear, image, target) for image, target in zip(images, targets.tolist(), strict=True)]
    ratio = lengths / smallest
    assert ratio.min() >= 0.999
    assert np.quantile(ratio, 0.9) <= 1.25
    assert ratio.max() <= 1.5


def test_ddn_says_so_where_it_finds_nothing(linear: Linear, generator: torch.Generator) -> None:
    """Not the clean image, as if nothing had been tried: the last one tried, which is not adversarial."""
    images, targets = gray(linear, generator, 10)
    with torch.no_grad():
        linear.bias[:] = torch.where(torch.arange(4) == 0, 1000.0, 0.0)
    targets = torch.ones(10, dtype=torch.int64)
    found, _ = ddn(linear, images, Goal(targets), steps=5)
    assert (margins(linear(found), targets) < 0).all()
    assert ((found - images).flatten(1).norm(dim=1) > 0).all()


def test_minimum_norm_finds_the_smallest_perturbation_of_two_classes(generator: torch.Generator) -> None:
    model = Linear(generator, classes=2)
    images, targets = gray(model, generator, 40)
    smallest = -margins(model(images), targets).detach() / (model.weight[0] - model.weight[1]).norm().detach()
    found, steps = minimum_norm(model, images, Goal(targets), steps=12)
    length = (found - images).flatten(1).norm(dim=1)
    assert (margins(model(found), targets) > 0).all()
    assert (length >= smallest).all()
    assert (length <= 1.01 * smallest).all()
    assert steps.tolist() == [12] * 40


@pytest.mark.parametrize(("ball", "dual"), [(Linf(), 1), (L2(), 2)])
@pytest.mark.parametrize("targeted", [True, False])
def test_pgd_finds_an_adversarial_image_where_there_is_one_and_only_there(
    generator: torch.Generator, ball: Linf | L2, dual: int, targeted: bool
) -> None:
    """Two classes: the ball holds one exactly if epsilon * ||w_t - w_k||_dual exceeds the margin."""
    model = Linear(generator, classes=2)
    images, targets = gray(model, generator, 50)
    distance = -margins(model(images), targets).detach() / (model.weight[0] - model.weight[1]).detach().norm(dual)
    goal = Goal(targets) if targeted else Goal(1 - targets, targeted=False)
    for share, expected in ((1.02, True), (0.98, False)):
        for i in range(50):
            found, _ = projected_gradient_descent(
                model, images[i : i + 1], goal.at(torch.tensor([i])), generator, ball,
                epsilon=share * distance[i].item(), relative_step_size=0.25, steps=20, restarts=2, random_start=True,
            )  # fmt: skip
            assert bool(margins(model(found), targets[i : i + 1]) > 0) == expected
            moved = (found - images[i]).flatten()
            assert moved.norm(torch.inf if dual == 1 else 2) <= share * distance[i] * (1 + 1e-9)


def test_random_starts_fill_the_ball(generator: torch.Generator) -> None:
    images = torch.zeros(4000, 1, 2, 2, dtype=torch.float64)
    drawn = Linf().random(images, 0.3, generator)
    assert drawn.abs().max() <= 0.3
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.02)
    lengths = L2().random(images, 2.0, generator).flatten(1).norm(dim=1)
    assert lengths.max() <= 2
    # The share within radius r of a ball in 4 dimensions is r^4.
    assert (lengths < 1).double().mean().item() == pytest.approx(1 / 16, abs=0.01)
    assert (lengths < 1.7).double().mean().item() == pytest.approx(0.85**4, abs=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_jsma_changes_no_more_positions_than_allowed_and_those_of_highest_impact(
    generator: torch.Generator, channels: int
) -> None:
    model = Linear(generator, (channels, 4, 4))
    images = 0.5 + 0.02 * torch.randn(60, channels, 4, 4, generator=generator, dtype=torch.float64)
    predicted = model(images).argmax(1)
    targets = (predicted + torch.randint(1, 4, (60,), generator=generator)) % 4
    sums = 2 * model.weight.detach() - model.weight.detach().sum(0)  # F_t - sum of the others
    outcomes = []
    for fraction in (0.05, 0.07, 0.2, 0.5, 1):
        found, steps = jsma(model, images, Goal(targets), allowed_fraction=fraction, positions_per_step=1)
        moved = (found != images).any(1).flatten(1)
        assert (moved.sum(1) <= int(fraction * 16)).all()
        assert torch.equal(moved.sum(1), steps)
        outcomes.append((margins(model(found), targets) > 0).double().mean().item())
        for i in range(60):
            impact = sums[targets[i]].view(channels, 16)
            ranked = impact.abs().sum(0).argsort(descending=True)[: int(steps[i])]
            assert set(moved[i].nonzero()[:, 0].tolist()) == set(ranked.tolist())
            expected = (impact[:, ranked] > 0).double()  # all the way to white or black
            assert torch.equal(found[i].view(channels, 16)[:, ranked], expected)
    assert outcomes[0] == 0  # 0.05 of 16 positions is none
    assert outcomes == sorted(outcomes)
    assert outcomes[-1] > 0.5


def test_jsma_spends_no_step_on_pixels_without_room(generator: torch.Generator) -> None:
    """On black images only pixels whose impact is positive can move: all steps go there, though others weigh more."""
    model = Linear(generator, (1, 4, 4))
    images = torch.zeros(20, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        model.bias[:] = torch.tensor([1e3, 0, 0, 0])  # nothing that ten pixels do changes the prediction
    targets = torch.randint(1, 4, (20,), generator=generator)
    found, steps = jsma(model, images, Goal(targets), allowed_fraction=0.25, positions_per_step=1)
    impact = 2 * model.weight.detach() - model.weight.detach().sum(0)
    assert steps.tolist() == [4] * 20
    for image, target in zip(found.flatten(1), targets.tolist(), strict=True):
        best = impact[target].argsort(descending=True)[:4]
        assert set(image.nonzero()[:, 0].tolist()) == set(best.tolist())
