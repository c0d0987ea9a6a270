"""The ascent against a closed form, the engine against the plain loop, and the protocol of attacks."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pipeline.attacks
from pipeline.attacks import extended, minimal
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.errors import PipelineError
from pipeline.metrics.outcomes import margins
from pipeline.models.cnn import Classifier
from pipeline.models.modes import frozen
from tests.linear import Linear


def pairs(generator: torch.Generator, count: int, model: Linear) -> tuple[Tensor, Tensor]:
    """Gray images, all near the boundary so that nothing is clipped, and targets that are not predicted."""
    with torch.no_grad():
        model.bias -= model(torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64))[0]
    images = 0.5 + 0.01 * torch.randn(count, 1, 4, 4, generator=generator, dtype=torch.float64)
    predicted = model(images).argmax(1)
    return images, (predicted + torch.randint(1, 4, (count,), generator=generator)) % 4


def test_minimal_takes_the_steps_of_the_closed_form(linear: Linear, generator: torch.Generator) -> None:
    """On a linear model the gradient is w_t: after s steps logit k rises by s * step_size * w_t.w_k."""
    images, targets = pairs(generator, 40, linear)
    step_size = 1e-4
    found, steps = minimal.minimal(linear, images, Goal(targets), step_size=step_size, max_steps=20000)
    with torch.no_grad():
        logits = linear(images)
        for i, target in enumerate(targets.tolist()):
            w = linear.weight
            rise = step_size * (w[target] @ w[target] - w @ w[target])
            lead = logits[i] - logits[i, target]
            rivals = [k for k in range(4) if k != target and lead[k] >= 0]
            # The first whole number of steps after which the target leads every rival.
            expected = max(int(torch.floor(lead[k] / rise[k])) + 1 for k in rivals)
            assert int(steps[i]) == expected
            moved = expected * step_size * w[target]
            torch.testing.assert_close(found[i].flatten(), images[i].flatten() + moved)


def test_minimal_is_close_to_the_smallest_perturbation_towards_the_target(generator: torch.Generator) -> None:
    """With two classes of opposite weights, w_t is the shortest way: |margin| / ||w_t - w_k||, one step more."""
    model = Linear(generator, classes=2)
    with torch.no_grad():
        model.weight[1] = -model.weight[0]
    images = 0.5 + 0.01 * torch.randn(20, 1, 4, 4, generator=generator, dtype=torch.float64)
    targets = 1 - model(images).argmax(1)
    step_size = 1e-3
    found, _ = minimal.minimal(model, images, Goal(targets), step_size=step_size, max_steps=5000)
    smallest = -margins(model(images), targets).detach() / (model.weight[0] - model.weight[1]).norm().detach()
    length = (found - images).flatten(1).norm(dim=1)
    one_step = step_size * model.weight[0].norm().detach()
    assert (length >= smallest).all()
    assert (length <= smallest + one_step + 1e-12).all()


def test_minimal_gives_up_after_max_steps(linear: Linear, generator: torch.Generator) -> None:
    images, targets = pairs(generator, 10, linear)
    found, steps = minimal.minimal(linear, images, Goal(targets), step_size=1e-9, max_steps=3)
    assert steps.tolist() == [3] * 10
    assert (margins(linear(found), targets) <= 0).all()


def test_images_that_are_fooled_from_the_start_take_no_step(linear: Linear, generator: torch.Generator) -> None:
    images, _ = pairs(generator, 10, linear)
    found, steps = minimal.minimal(linear, images, Goal(linear(images).argmax(1)), step_size=0.1, max_steps=3)
    assert steps.tolist() == [0] * 10
    assert torch.equal(found, images)


@pytest.fixture
def network() -> Classifier:
    torch.manual_seed(3)
    model = Classifier((1, 8, 8), 10, channels=(6, 12), dropout=0.2).double()
    model.set_normalization(torch.tensor([0.4]), torch.tensor([0.3]))
    return model.train()


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_engine_gives_the_plain_loops_images(network: Classifier, generator: torch.Generator, batch_size: int) -> None:
    images = torch.rand(20, 1, 8, 8, generator=generator, dtype=torch.float64)
    rows = torch.arange(20).repeat_interleave(5)
    targets = torch.randint(10, (100,), generator=generator)
    parameters = {"step_size": 0.3, "max_steps": 40}
    expected, expected_steps = minimal.minimal(network, images[rows], Goal(targets), **parameters)
    counted = []
    found, steps = run_attack(
        minimal.attack,
        network,
        images,
        rows,
        Goal(targets),
        batch_size,
        lambda n, fooled: counted.append((n, fooled)),
        **parameters,
    )
    assert 0 < int((expected_steps == 40).sum()) < 100  # both outcomes occur
    assert torch.equal(steps, expected_steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert sum(n for n, _ in counted) == 100
    assert sum(fooled for _, fooled in counted) == int((expected_steps < 40).sum())


def test_engine_uses_one_pass_per_step_and_one_to_see_the_success(linear: Linear, generator: torch.Generator) -> None:
    images, targets = pairs(generator, 50, linear)
    passed = 0

    def count(module: object, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal passed
        passed += len(output)

    handle = linear.register_forward_hook(count)
    goal = Goal(targets)
    _, steps = run_attack(minimal.attack, linear, images, torch.arange(50), goal, 8, step_size=0.01, max_steps=200)
    handle.remove()
    assert passed == int(steps.sum()) + 50


class Odd(nn.Module):
    """A dark image has a constant for logits, a bright one no numbers; between them class 1 is the brighter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.images = nn.Parameter(torch.ones((), dtype=torch.float64)), 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        level = images.flatten(1).mean(1)
        level = level * torch.where(level < 0.3, 0.0, torch.where(level > 0.7, torch.nan, 1.0))
        return torch.stack([torch.full_like(level, 0.5), level], 1) * self.scale


@pytest.mark.parametrize("batch_size", [2, 100])
def test_images_that_do_not_move_or_become_no_numbers_fail_at_once(batch_size: int) -> None:
    model = Odd()
    images = torch.tensor([0.1, 0.9, 0.45, 0.1, 0.9, 0.45], dtype=torch.float64)[:, None, None, None].expand(
        -1, 1, 4, 4
    )
    goal = Goal(torch.ones(6, dtype=torch.int64))
    about = {"step_size": 0.5, "max_steps": 1000}
    attack = load_attack("minimal")
    found, steps = run_attack(attack, model, images, torch.arange(6), goal, batch_size, **about)
    assert found.isfinite().all()
    odd = torch.tensor([0, 1, 3, 4])
    assert torch.equal(found[odd], images[odd])
    assert steps[odd].tolist() == [1, 1, 1, 1]
    assert (found[[2, 5]].flatten(1).mean(1) > 0.5).all()
    assert model.images < 6 * 10
    other, _ = run_attack(
        load_attack("pgd_linf"), model, images, torch.arange(6), goal, batch_size, generator=torch.Generator(),
        epsilon=0.1, relative_step_size=0.5, steps=3, random_start=False,
    )  # fmt: skip
    assert torch.equal(other[[1, 4]], images[[1, 4]])


def test_extended_carries_the_trajectory_on(network: Classifier, generator: torch.Generator) -> None:
    images = torch.rand(12, 1, 8, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(10, (12,), generator=generator)
    goal = Goal(targets)
    halfway, _ = extended.extended(network, images, goal, step_size=0.1, extra_steps=3)
    whole, steps = extended.extended(network, images, goal, step_size=0.1, extra_steps=5)
    rest, _ = run_attack(extended.attack, network, halfway, torch.arange(12), goal, 5, step_size=0.1, extra_steps=2)
    torch.testing.assert_close(rest, whole, rtol=0, atol=1e-12)
    assert steps.tolist() == [5] * 12


def test_no_extra_step_changes_nothing(network: Classifier, generator: torch.Generator) -> None:
    images = torch.rand(3, 1, 8, 8, generator=generator, dtype=torch.float64)
    found, _ = extended.extended(network, images, Goal(torch.zeros(3, dtype=torch.int64)), step_size=1.0, extra_steps=0)
    assert torch.equal(found, images)


def test_frozen_restores_modes_and_flags_after_an_error(network: Classifier) -> None:
    network[0].eval()
    next(network.parameters()).requires_grad_(False)
    modes = [module.training for module in network.modules()]
    flags = [parameter.requires_grad for parameter in network.parameters()]
    with pytest.raises(RuntimeError, match="stop"), frozen(network):
        assert not any(module.training for module in network.modules())
        raise RuntimeError("stop")
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == flags


def test_untargeted_ascent_raises_the_lead(network: Classifier, generator: torch.Generator) -> None:
    """Engine and plain loop alike: they stop at the first image that is no longer seen as it was."""
    images = torch.rand(30, 1, 8, 8, generator=generator, dtype=torch.float64)
    network.eval()
    goal = Goal(network(images).argmax(1), targeted=False)
    parameters = {"step_size": 0.3, "max_steps": 60}
    expected, expected_steps = minimal.minimal(network, images, goal, **parameters)
    found, steps = run_attack(minimal.attack, network, images, torch.arange(30), goal, 7, **parameters)
    assert torch.equal(steps, expected_steps)
    assert steps.min() >= 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    left = network(found).argmax(1) != goal.labels
    assert torch.equal(left, steps < 60)
    assert left.any()


@pytest.mark.parametrize("name", ["nonsense", "../minimal", "no.such", "Minimal", ""])
def test_an_unknown_attack_is_named(name: str) -> None:
    with pytest.raises(PipelineError, match=f"^unknown attack '{name}': expected a file pipeline/attacks/"):
        load_attack(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_package\n", "needs the package no_such_package, which is not installed"),
        ("def toy(): ...\n", r"toy_attack\.py: expected `attack = Attack\(\.\.\.\)`, found None"),
        (
            "from pipeline.attacks.minimal import attack\n",
            "expected a function 'toy_attack' to be run, found 'minimal'",
        ),
    ],
)
def test_a_file_that_is_no_attack_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "toy_attack.py").write_text(text)
    monkeypatch.setattr(pipeline.attacks, "__path__", [*pipeline.attacks.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "pipeline.attacks.toy_attack", raising=False)
    importlib.invalidate_caches()
    try:
        with pytest.raises(PipelineError, match=words):
            load_attack("toy_attack")
    finally:
        sys.modules.pop("pipeline.attacks.toy_attack", None)


def one_way(model: nn.Module, images: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
    return images, torch.zeros_like(goal.labels)


@pytest.mark.parametrize(
    ("limits", "targeted", "words"),
    [
        ({"targeted": False}, True, "one_way: expected an attack that takes targets"),
        ({"untargeted": False}, False, "one_way: expected an attack that leaves the label"),
        ({"largest": 63}, True, "one_way: expected images of at most 63 pixels, found 8 x 8"),
    ],
)
def test_what_an_attack_cannot_do_is_refused(
    network: Classifier, limits: dict[str, Any], targeted: bool, words: str
) -> None:
    goal = Goal(torch.zeros(2, dtype=torch.int64), targeted)
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    attack = Attack(run=one_way, **limits)
    with pytest.raises(PipelineError, match=f"^{words}"):
        run_attack(attack, network, images, torch.arange(2), goal, 2)
    with pytest.raises(PipelineError, match=f"^{words}"):
        attack(network, images, goal)
    with pytest.raises(ValueError, match="one_way draws random numbers: expected a generator"):
        Attack(run=one_way, random=True)(network, images, goal)
    able = Attack(run=one_way, largest=64)
    assert torch.equal(run_attack(able, network, images, torch.arange(2), goal, 2)[0], images)


def test_margin_is_the_lead_of_the_target() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 1.0, 5.0]])
    assert margins(logits, torch.tensor([1, 0])).tolist() == [1.0, 0.0]
    assert margins(logits, torch.tensor([0, 1])).tolist() == [-2.0, -4.0]


def test_a_batch_of_none_and_labels_of_others_are_refused(linear: nn.Module) -> None:
    images, rows = torch.rand(4, 1, 8, 8, dtype=torch.float64), torch.arange(4)
    for labels, size in ((4, 0), (3, 2)):
        with pytest.raises(PipelineError, match=f"found {size} and {labels} labels"):
            run_attack(minimal.attack, linear, images, rows, Goal(rows[:labels]), size, step_size=0.1, max_steps=2)


def test_images_out_of_their_range_are_refused(linear: nn.Module) -> None:
    rows, about = torch.arange(2), {"step_size": 0.1, "max_steps": 2}
    for value, found in ((255, "0 to 255"), (-0.5, "-0.5 to 0"), (torch.nan, "nan to nan")):
        images = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
        images[1, 0, 0, 0] = value
        with pytest.raises(PipelineError, match=rf"images: expected uint8, or floats in \[0, 1\], found {found}"):
            run_attack(minimal.attack, linear, images, rows, Goal(rows), 2, **about)
