"""Gradients in bfloat16: as good images, every decision in float32, refused where the device has none."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.attacks import extended, minimal
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings, Chosen
from pipeline.attacks.shared.defended import Target, as_it_is
from pipeline.attacks.shared.engine import _slots, run_attack
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.precision import for_gradients, reached
from pipeline.attacks.shared.protocol import load_attack
from pipeline.attacks.shared.runs import Run, attacked, voted
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.devices import TABLE
from pipeline.errors import PipelineError
from pipeline.metrics.outcomes import margins
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.training.classifier import divide, fit_classifier, new_classifier
from tests.capabilities import needs_bfloat16
from tests.root import ROOT

CPU = torch.device("cpu")


@pytest.fixture
def network() -> Classifier:
    torch.manual_seed(3)
    return Classifier((1, 8, 8), 10, channels=(8, 16), dropout=0.2).eval().requires_grad_(False)


@pytest.fixture
def pairs(network: Classifier, generator: torch.Generator) -> tuple[Tensor, Goal]:
    images = torch.rand(60, 1, 8, 8, generator=generator)
    return images, Goal((network(images).argmax(1) + torch.randint(1, 10, (60,), generator=generator)) % 10)


@needs_bfloat16
def test_images_are_as_good(network: Classifier, pairs: tuple[Tensor, Goal]) -> None:
    images, goal = pairs
    results = []
    for precision in ("float32", "bfloat16"):
        rest = {"step_size": 0.5, "max_steps": 300, "precision": precision}
        found, steps = run_attack(minimal.attack, network, images, torch.arange(60), goal, 17, **rest)
        fooled = margins(network(found), goal.labels) > 0
        assert found.dtype == torch.float32
        assert fooled[steps < 300].all()  # what counts as fooled is so in float32
        results.append((fooled, (found - images).flatten(1).norm(dim=1), steps.double()))
    both = results[0][0] & results[1][0]
    assert both.float().mean() > 0.5
    assert (results[0][0] == results[1][0]).float().mean() > 0.95
    for plain, low in zip(*(result[1:] for result in results), strict=True):
        assert low[both].mean().item() == pytest.approx(plain[both].mean().item(), rel=0.03)


@needs_bfloat16
def test_the_plain_loop_is_the_same_method(network: Classifier, pairs: tuple[Tensor, Goal]) -> None:
    images, goal = pairs
    rest = {"step_size": 0.5, "max_steps": 60, "precision": "bfloat16"}
    one, steps = minimal.minimal(network, images, goal, **rest)  # type: ignore[arg-type]
    two, engine_steps = run_attack(minimal.attack, network, images, torch.arange(60), goal, 17, **rest)
    assert (steps - engine_steps).abs().double().mean() < 1
    assert (one - two).norm() < 0.05 * (one - images).norm()


@needs_bfloat16
def test_extended_goes_as_far(network: Classifier, pairs: tuple[Tensor, Goal]) -> None:
    images, goal = pairs
    one, two = (
        extended.extended(network, images, goal, step_size=0.5, extra_steps=8, precision=precision)[0] - images
        for precision in ("float32", "bfloat16")
    )
    assert (one - two).norm() < 0.1 * one.norm()
    assert not torch.equal(one, two)


@needs_bfloat16
def test_near_the_boundary_float32_decides(network: Classifier, pairs: tuple[Tensor, Goal]) -> None:
    images, _ = pairs
    logits = network(images)
    best, second = logits.topk(2, dim=1).indices.T
    low = for_gradients(network, "bfloat16")
    for labels, expected in ((best, True), (second, False)):
        said = reached(network, low, images, low(images), Goal(labels))
        assert (said == expected).all()


def test_float32_is_the_default(network: Classifier, pairs: tuple[Tensor, Goal]) -> None:
    images, goal = pairs
    rest = {"step_size": 0.5, "max_steps": 50}
    one, two = (
        run_attack(minimal.attack, network, images, torch.arange(60), goal, 17, **rest, **more)
        for more in ({}, {"precision": "float32"})
    )
    assert torch.equal(one[0], two[0])
    assert for_gradients(network, "float32") is network


def test_a_cpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch, network: Classifier) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(
        PipelineError, match=r"^precision: bfloat16: expected a CPU with AMX .*, found .*; use float32$"
    ):
        for_gradients(network, "bfloat16")


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize("most", ["AVX2", "AVX512_CORE"])
def test_a_cpu_that_may_not_use_it_is_refused(name: str, most: str) -> None:
    """Also where oneDNN then emulates it: at less than half of float32's speed."""
    code = "import torch; from pipeline.devices import check_bfloat16 as check; check(torch.device('cpu'))"
    limited = {**os.environ, name: most, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=limited, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("pipeline.errors.PipelineError: precision: bfloat16: expected ")


@needs_bfloat16
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_fixed_numbers_give_the_masks_that_the_judge_draws(
    order: torch.memory_format, pairs: tuple[Tensor, Goal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where float32 has another order of memory than bfloat16, as on a GPU: masks are drawn in that order."""
    monkeypatch.setitem(TABLE, "cpu", replace(TABLE["cpu"], memory_format=order))
    network = for_inference(Classifier((1, 8, 8), 10, channels=(8, 16), dropout=0.2), CPU)
    random = lambda *names: torch.Generator().manual_seed(5)  # noqa: E731
    target = Target(dropout_ensemble, network, {"rate": 0.5}, random, randomized=True, passes=4)
    images = to_unit_interval(pairs[0], network)
    one, two = (target.model(4, "x", fixed=True, precision=low)(images) for low in ("float32", "bfloat16"))
    assert 0 < (one - two).norm() < 0.03 * one.norm()  # by other masks about as large


@pytest.mark.parametrize(
    ("slots", "unfinished", "kept"), [(1024, 513, 1024), (1024, 512, 512), (1024, 3, 4), (1000, 1, 1), (1024, 0, 0)]
)
def test_a_batch_shrinks_by_halves(slots: int, unfinished: int, kept: int) -> None:
    assert _slots(slots, unfinished, True) == kept
    assert _slots(slots, unfinished, False) == unfinished


@needs_bfloat16
def test_a_training_keeps_its_weights_in_float32_and_learns_as_well() -> None:
    random = np.random.default_rng(0)
    labels = (np.arange(300) % 3).astype(np.uint8)
    images = random.integers(0, 60, (300, 1, 8, 8)).astype(np.uint8)
    for row, label in enumerate(labels):
        images[row, 0, 2 * label + 1] += 150
    division = divide(images, labels, np.arange(300) % 5 == 0, CPU)
    training = {"epochs": 3, "batch_size": 30, "learning_rate": 0.05, "weight_decay": 5e-4, "shift": 0, "flip": False}
    weights = {}
    for precision in ("float32", "bfloat16"):
        model = new_classifier(division.images, 3, (0, "toy"), channels=(8,), dropout=0.1)
        *_, last = fit_classifier(model, *division, torch.Generator().manual_seed(1), **training, precision=precision)
        assert last.split == "validation"
        assert last.accuracy == 1
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        weights[precision] = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert 0 < (weights["float32"] - weights["bfloat16"]).norm() < 0.1 * weights["float32"].norm()


@needs_bfloat16
def test_a_whole_defense_is_attacked_in_bfloat16_and_judged_in_float32(network: Classifier) -> None:
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    random = lambda *names: torch.Generator().manual_seed(5)  # noqa: E731
    target = Target(dropout_ensemble, network, {"rate": 0.3}, random, randomized=True, passes=4)
    bare = Target(as_it_is, network, {}, random)
    plain, low = (bare.model(1, "some", precision=precision) for precision in ("float32", "bfloat16"))
    one, two = plain(images), low(images)
    assert two.dtype == torch.float32
    assert 0 < (one - two).norm() < 0.03 * one.norm()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    settings = AdaptiveSettings(
        norm="linf", epsilons=(0.1,), budget=0.1, originals=20, sanity_originals=1, restarts=1, curve_restarts=1,
        draws=4, scored_draws=9, resubmissions=2, quiet=0.0, shortest={"steps": 3}, precision="bfloat16",
        ascent={"method": "pgd", "steps": 5, "relative_step_size": 0.5},
    )  # fmt: skip
    asked = []

    def each(function: Any, blocks: Any) -> list[Any]:
        blocks = list(blocks)
        asked.extend((function, getattr(block, "precision", "float32")) for block in blocks)
        return [function(block) for block in blocks]

    list(attack_defense(target, None, images, network(images).argmax(1), 64, settings, each=each))
    assert {precision for function, precision in asked if function is voted} == {"float32"}
    assert {precision for function, precision in asked if function is not voted} == {"bfloat16"}


@needs_bfloat16
@pytest.mark.parametrize("method", ["minimum_norm", "ddn"])
def test_the_nearest_image_of_another_class_is_so_in_float32(network: Classifier, method: str) -> None:
    """What lies on the boundary is where a rounding decides."""
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = network(images).argmax(1)
    random = lambda *names: torch.Generator().manual_seed(5)  # noqa: E731
    low = Target(as_it_is, network, {}, random).model(1, "some", precision="bfloat16")
    found, _ = load_attack(method)(low, images, Evasion(labels), random(), steps=20)
    moved = (found != images).flatten(1).any(1)
    assert moved.sum() > 100
    assert (margins(network(found), labels)[moved] < 1e-6).all()  # a tie, by the rounding of another batch


@needs_bfloat16
def test_logits_that_decide_are_float32s_and_gradients_are_not(network: Classifier) -> None:
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    random = lambda *names: torch.Generator().manual_seed(5)  # noqa: E731
    target = Target(as_it_is, network, {}, random)
    exact, low = (target.model(1, "some", precision=precision) for precision in ("float32", "bfloat16"))
    one, two = exact(images)[:, 0], low(images)[:, 0]
    largest = one.topk(2, 1).values
    near = largest[:, 0] - largest[:, 1] < 0.01 * one.abs().amax(1)
    assert near.any()
    torch.testing.assert_close(one[near], two[near], rtol=1e-5, atol=1e-6)
    (of_one,), (of_two,) = (torch.autograd.grad(logits[:, 0].sum(), images) for logits in (one, two))
    different = (of_one[near] - of_two[near]).flatten(1).norm(dim=1) / of_one[near].flatten(1).norm(dim=1)
    assert (different > 1e-4).all()
    assert (different < 0.1).all()


@needs_bfloat16
def test_an_attack_without_gradients_asks_in_float32(network: Classifier) -> None:
    asked = []

    def spied(learned: torch.nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        asked.append({parameter.dtype for parameter in learned.parameters()})
        return as_it_is(learned, images, generator)

    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    target = Target(spied, network, {}, lambda *names: torch.Generator().manual_seed(5))
    chosen = Chosen(load_attack("square"), {"norm": "linf", "epsilon": 0.1, "queries": 5}, "epsilon")
    attacked(Run(target, chosen, chosen.parameters, images, network(images).argmax(1), 1, ("x",), precision="bfloat16"))
    assert asked
    assert all(found == {torch.float32} for found in asked)
