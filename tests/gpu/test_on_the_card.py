"""What only a GPU can show: the CPU's images, the same bytes at every run, one wait a step.

Tolerances: in float64 the same steps, images within 1e-7; in float32 the same flags where the CPU's margin is not
within 1e-4 of zero (of 99.5 %), steps alike for 99 % of the images, mean L2 within 0.1 %.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.protocol import load_attack
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.defenses.gaussian_blur import gaussian_blur
from pipeline.devices import choose_device
from pipeline.metrics.outcomes import margins
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference, predict
from pipeline.models.pixels import unit_interval
from pipeline.randomness import generator, seeded_globally, seeded_initialization
from pipeline.training.classifier import fit_classifier, new_classifier
from tests.networks import Counted

if not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore"),  # of another version of PyTorch
]
CPU = torch.device("cpu")
TRAINING = {
    "epochs": 3, "batch_size": 64, "learning_rate": 0.05, "weight_decay": 5e-4, "shift": 1, "flip": False,
}  # fmt: skip


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Ten patterns with noise, uint8 (count, 1, 16, 16), and which one each shows."""
    draws = torch.Generator().manual_seed(5)
    patterns = torch.rand(10, 1, 16, 16, generator=draws)
    labels = torch.randint(10, (count,), generator=draws)
    noisy = 0.25 + 0.5 * patterns[labels] + 0.2 * torch.randn(count, 1, 16, 16, generator=draws)
    return (noisy.clamp(0, 1) * 255).byte(), labels


def trained(device: torch.device) -> Classifier:
    images, labels = (part.to(device) for part in pictures(2000))
    model = new_classifier(images, 10, (0, "card"), channels=(16, 32), dropout=0.1)
    draws = generator(device, 0, "card", "training")
    for _ in fit_classifier(model, images, labels, images[:100], labels[:100], draws, **TRAINING):  # type: ignore[arg-type]
        pass
    return model


@pytest.fixture(scope="module")
def card() -> torch.device:
    return choose_device()


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return trained(CPU).state_dict()


def model_on(device: torch.device, weights: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> nn.Module:
    model = Classifier((1, 16, 16), 10, channels=(16, 32), dropout=0.1)
    model.load_state_dict(weights)
    return for_inference(model.to(dtype), device)


def test_bytes_become_the_same_floats(card: torch.device) -> None:
    every = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(unit_interval(every.to(card), dtype).cpu(), unit_interval(every, dtype))


def test_products_are_ieee(card: torch.device) -> None:
    draws = torch.Generator().manual_seed(1)
    images, kernel = torch.randn(8, 64, 16, 16, generator=draws), torch.randn(64, 64, 3, 3, generator=draws)
    one, two = torch.randn(512, 512, generator=draws), torch.randn(512, 512, generator=draws)
    for found, exact in (
        (functional.conv2d(images.to(card), kernel.to(card)), functional.conv2d(images.double(), kernel.double())),
        (one.to(card) @ two.to(card), one.double() @ two.double()),
    ):
        assert (found.cpu() - exact).norm() / exact.norm() < 1e-5  # TF32: 3e-4


ATTACKS: dict[str, dict[str, Any]] = {
    "minimal": {"step_size": 0.02, "max_steps": 300},
    "extended": {"step_size": 0.02, "extra_steps": 7},
    "fgsm": {"epsilon": 0.1},
    "jsma": {"allowed_fraction": 0.2, "positions_per_step": 2},
    "ddn": {"steps": 20},
    "minimum_norm": {"steps": 16},
    "pgd_l2": {"epsilon": 1.0, "relative_step_size": 0.1, "steps": 15, "restarts": 1, "random_start": False},
    "pgd_linf": {"epsilon": 0.1, "relative_step_size": 0.1, "steps": 15, "restarts": 1, "random_start": False},
}


def attack_on(model: nn.Module, name: str, images: Tensor, rows: Tensor, targets: Tensor, size: int) -> Any:
    """Images and steps."""
    draws = generator(images.device, 0, "card", name)
    return run_attack(load_attack(name), model, images, rows, Goal(targets), size, generator=draws, **ATTACKS[name])


def attacked(
    name: str, device: torch.device, weights: dict[str, Tensor], dtype: torch.dtype, batch_size: int = 200
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, steps, margins of them, and L2, on the CPU."""
    model = model_on(device, weights, dtype)
    images, labels = pictures(100)
    rows = torch.arange(100).repeat_interleave(4)
    targets = (labels[rows] + torch.arange(400) % 4 + 1) % 10
    found, steps = attack_on(model, name, images.to(device), rows.to(device), targets.to(device), batch_size)
    lead = margins(predict(model, found, 500), targets.to(device))
    l2 = (found.cpu() - unit_interval(images[rows], dtype)).flatten(1).norm(dim=1)
    return found.cpu(), steps.cpu(), lead.cpu(), l2


@pytest.mark.parametrize("name", ATTACKS)
def test_float64_gives_the_cpus_images(card: torch.device, weights: dict[str, Tensor], name: str) -> None:
    expected, steps, _, _ = attacked(name, CPU, weights, torch.float64)
    found, card_steps, _, _ = attacked(name, card, weights, torch.float64)
    assert torch.equal(card_steps, steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ATTACKS)
def test_float32_gives_the_cpus_flags_and_norms(card: torch.device, weights: dict[str, Tensor], name: str) -> None:
    _, steps, lead, l2 = attacked(name, CPU, weights, torch.float32)
    _, card_steps, card_lead, card_l2 = attacked(name, card, weights, torch.float32)
    clear = lead.abs() > 1e-4
    alike = (lead > 0) == (card_lead > 0)
    print(name, "flags", alike.float().mean(), "steps", (steps == card_steps).float().mean(), l2.mean(), card_l2.mean())
    assert alike[clear].float().mean() > 0.995
    assert (steps == card_steps).float().mean() >= 0.99
    torch.testing.assert_close(card_l2.mean(), l2.mean(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["minimal", "jsma", "ddn", "pgd_l2", "minimum_norm"])
def test_a_repeat_gives_the_same_bytes(card: torch.device, weights: dict[str, Tensor], name: str) -> None:
    one, two = (attacked(name, card, weights, torch.float32) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_bfloat16_gives_as_good_images_and_the_same_bytes(
    card: torch.device, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, steps, lead, l2 = attacked("minimal", card, weights, torch.float32)
    monkeypatch.setitem(ATTACKS, "minimal", {**ATTACKS["minimal"], "precision": "bfloat16"})
    low, again = (attacked("minimal", card, weights, torch.float32) for _ in range(2))
    assert torch.equal(low[0], again[0])
    print("bfloat16 flags", (low[2] > 0).float().mean(), "steps", low[1].float().mean(), steps.float().mean())
    fooled = (lead > 0) & (low[2] > 0)
    assert (low[2] > -1e-4)[low[1] < 300].all()  # decided in float32, in another batch
    assert fooled.float().mean() > 0.99 * (lead > 0).float().mean()
    torch.testing.assert_close(low[3][fooled].mean(), l2[fooled].mean(), rtol=0.02, atol=0)


def test_a_repeated_training_gives_the_same_bytes(card: torch.device) -> None:
    one, two = (trained(card).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("blurred", [False, True])
def test_a_repeated_attack_on_a_defense_gives_the_same_bytes(
    card: torch.device, weights: dict[str, Tensor], blurred: bool
) -> None:
    model = model_on(card, weights)
    images, labels = pictures(60)
    results = []
    for _ in range(2):
        draws = generator(card, 0, "card", "attack")
        results.append(evade(defended(model, draws, blurred), images, labels, draws, card))
    assert torch.equal(*results)


def defended(model: nn.Module, draws: torch.Generator, blurred: bool) -> nn.Module:
    class Defended(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            if blurred:
                return gaussian_blur(self.model, images, draws, sigma=0.7)
            return dropout_ensemble(self.model, images, draws, passes=4, rate=0.3)

    return Defended()


def evade(model: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator, card: torch.device) -> Tensor:
    originals = unit_interval(images.to(card)).contiguous(memory_format=torch.channels_last)
    found, _ = projected_gradient_descent(
        model, originals, Evasion(labels.to(card)), draws, BALLS["l2"],
        epsilon=1.0, relative_step_size=0.2, steps=8, restarts=2, random_start=True,
    )  # fmt: skip
    return found


def synchronizations(run: Callable[[], object]) -> int:
    """How often the host waits for the device in a call, as PyTorch sees it."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in seen)


@pytest.mark.parametrize("name", ["minimal", "jsma", "ddn", "pgd_l2", "minimum_norm", "eot"])
def test_the_host_waits_once_a_step_at_most(card: torch.device, weights: dict[str, Tensor], name: str) -> None:
    images, labels = pictures(60)
    draws = generator(card, 0, "card", "attack")
    if name == "eot":
        model = Counted(defended(model_on(card, weights), draws, False))
        evade(model, images, labels, draws, card)
        model.calls = 0
        waits = synchronizations(lambda: evade(model, images, labels, draws, card))
    else:
        model = Counted(model_on(card, weights))
        on_card = images.to(card), torch.arange(60, device=card), ((labels + 1) % 10).to(card)
        attack_on(model, name, *on_card, 25)
        model.calls = 0
        waits = synchronizations(lambda: attack_on(model, name, *on_card, 25))
    print(name, waits, "waits in", model.calls, "passes")
    assert waits <= model.calls + 3  # and those of the call: results, sizes


def test_global_generators_of_the_card_are_left_as_they_were(card: torch.device) -> None:
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with seeded_globally(generator(card, 0, "global")):
            drawn.append((torch.rand(3, device=card), torch.rand(3), np.random.rand()))  # noqa: NPY002
        with seeded_initialization(0, "weights"):
            torch.rand(3)
    assert torch.equal(before[0], torch.cuda.get_rng_state())
    assert torch.equal(before[1], torch.get_rng_state())
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert drawn[0][2] == drawn[1][2]


def test_folded_passes_have_masks_of_their_own(card: torch.device, weights: dict[str, Tensor]) -> None:
    model = model_on(card, weights)
    images, _ = pictures(3)
    same = unit_interval(images.to(card))[:1].expand(3, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = dropout_ensemble(model, same, generator(card, 0, "masks"), passes=50, rate=0.4)
    assert logits.shape == (3, 50, 10)
    assert len({tuple(row) for row in logits.flatten(0, 1).tolist()}) == 150


def test_the_engine_leaves_nothing_behind_in_empty_slots(card: torch.device, weights: dict[str, Tensor]) -> None:
    """A batch that drains by halves gives what one image at a time gives."""
    few = {"step_size": 0.02, "max_steps": 60}
    counted: list[tuple[int, int]] = []
    model = model_on(card, weights, torch.float64)
    images, labels = pictures(40)
    targets = ((labels + 3) % 10).to(card)
    about = load_attack("minimal"), model, images.to(card), torch.arange(40, device=card), Goal(targets)
    found, steps = run_attack(*about, 16, lambda n, fooled: counted.append((n, fooled)), **few)
    alone, alone_steps = run_attack(*about, 1, **few)
    assert torch.equal(steps, alone_steps)
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-9)
    assert sum(n for n, _ in counted) == 40
    assert sum(fooled for _, fooled in counted) == int((margins(predict(model, found, 64), targets) > 0).sum())
