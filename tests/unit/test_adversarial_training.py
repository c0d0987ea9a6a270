"""Adversarial training: its adversary, the loss of TRADES, and that it makes robust."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.balls import BALLS
from pipeline.defenses import adversarial_training
from pipeline.defenses.adversarial_training import Adversary
from pipeline.defenses.undefended import undefended
from pipeline.models.cnn import Classifier
from pipeline.models.dropout import sampling
from pipeline.models.inference import for_inference
from pipeline.models.outside import Outside
from pipeline.training.classifier import divide, fit_classifier, new_classifier
from tests.seeds import seeded
from tests.whole_defenses import problem, settings_of, target_of

ADVERSARY: dict[str, Any] = {
    "norm": "linf", "epsilon": 0.1, "steps": 5, "relative_step_size": 0.3, "warmup": 0.5, "trades": 0.0
}  # fmt: skip


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("trades", [0.0, 6.0])
def test_the_adversary_stays_in_its_ball_and_raises_the_loss(norm: str, trades: float) -> None:
    model = Classifier((1, 8, 8), 3, channels=(6,), dropout=0.0).train()
    images = torch.rand(40, 1, 8, 8, generator=seeded())
    labels = torch.randint(3, (40,), generator=seeded(1))
    radius = 0.1 if norm == "linf" else 1.0
    adversary = Adversary(seeded(2), **{**ADVERSARY, "norm": norm, "trades": trades, "epsilon": radius})
    attacked = adversary.attack(model, images, labels, radius)
    moved = (attacked - images).flatten(1)
    assert (moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)).max() <= radius + 1e-5
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        clean, after = model(images), model(attacked)
    if trades:
        divergence = functional.kl_div(after.log_softmax(1), clean.softmax(1), reduction="batchmean")
        assert divergence > 1e-3
    else:
        assert functional.cross_entropy(after, labels) > functional.cross_entropy(clean, labels) + 0.05


def test_the_adversary_climbs_the_network_as_it_is_used() -> None:
    """A plain loop against it in evaluation mode, whose statistics are not those of the batch."""
    model = Classifier((1, 8, 8), 3, channels=(6,), dropout=0.0).double().train()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.running_mean.uniform_(-1, 1, generator=seeded(3))  # type: ignore[union-attr]
    norm.running_var.uniform_(0.5, 2, generator=seeded(4))  # type: ignore[union-attr]
    images = torch.rand(70, 1, 8, 8, generator=seeded(), dtype=torch.float64)  # more than a part
    labels = torch.randint(3, (70,), generator=seeded(1))
    found = Adversary(seeded(2), **ADVERSARY).attack(model, images, labels, 0.1)
    wanted = (images + BALLS["linf"].random(images, 0.1, seeded(2))).clamp(0, 1)
    model.eval()
    for _ in range(ADVERSARY["steps"]):
        wanted.requires_grad_()
        (gradients,) = torch.autograd.grad(functional.cross_entropy(model(wanted), labels, reduction="sum"), wanted)
        stepped = wanted.detach() + 0.3 * 0.1 * gradients.sign()
        wanted = stepped.clamp(images - 0.1, images + 0.1).clamp(0, 1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_masks_in_the_attack_come_from_the_trainings_generator() -> None:
    model = Classifier((1, 8, 8), 3, channels=(6,), dropout=0.5).train()
    images, labels, masks = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), seeded(7)
    with sampling(model, masks):
        Adversary(seeded(2), **ADVERSARY).attack(model, images, labels, 0.1)
    assert not torch.equal(masks.get_state(), seeded(7).get_state())


def test_a_foreign_network_is_attacked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy: it may be one that cannot be copied."""
    model = Outside(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), {"input_shape": [1, 8, 8]})
    seen = []

    def climb(attacked: nn.Module, *settings: Any) -> Tensor:
        seen.append(attacked)
        return settings[-2][2]  # type: ignore[no-any-return]

    monkeypatch.setattr(adversarial_training, "_climb", climb)
    Adversary(seeded(), **ADVERSARY).attack(model, torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), 0.1)
    assert seen == [model]


def test_trades_loss_by_hand_and_the_radius_warms_up() -> None:
    model, images, labels = problem()
    adversary = Adversary(seeded(), **{**ADVERSARY, "trades": 2.0})
    radii = []

    class Recording(Adversary):
        def attack(self, model: nn.Module, images: Tensor, labels: Tensor, radius: float) -> Tensor:
            radii.append(radius)
            return images + 0.01

    loss, logits = Recording(seeded(), **{**ADVERSARY, "trades": 2.0})(model, images, labels, 0.25)
    clean, moved = model(images), model(images + 0.01)
    scores = clean.softmax(1)
    divergence = (scores * (scores.log() - moved.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(loss, functional.cross_entropy(clean, labels) + 2 * divergence)
    torch.testing.assert_close(logits, moved)
    Recording(seeded(), **ADVERSARY)(model, images, labels, 0.9)
    assert radii == pytest.approx([0.05, 0.1])
    assert adversary.trades == 2.0


def test_adversarial_training_makes_robust_what_plain_training_does_not() -> None:
    """A faint pixel tells the class without fail, a bright band nearly so: only the band survives an attack."""
    random = np.random.default_rng(0)
    count = 600
    labels = (np.arange(count) % 2).astype(np.uint8)
    images = random.integers(90, 110, (count, 1, 8, 8)).astype(np.uint8)
    band = np.where(random.random(count) < 0.95, labels, 1 - labels)
    images[np.arange(count), 0, 2 + 3 * band] += 100
    images[:, 0, 7, 7] = 100 + 10 * labels
    held_out = np.arange(count) % 10 == 0
    division = divide(images, labels, held_out, torch.device("cpu"))
    training = {"epochs": 6, "batch_size": 30, "learning_rate": 0.05, "weight_decay": 5e-4, "shift": 0, "flip": False}
    robust = {}
    for name in ("plain", "adversarial"):
        model = new_classifier(division.images, 2, (0, "toy"), channels=(8,), dropout=0.0)
        objective = {"objective": Adversary(seeded(), **ADVERSARY)} if name == "adversarial" else {}
        for _ in fit_classifier(model, *division, seeded(1), **objective, **training):
            pass
        target = target_of(undefended, for_inference(model, torch.device("cpu")))
        truth = torch.from_numpy(labels[held_out]).long()
        settings = settings_of(epsilons=(0.1,), budget=0.1, sanity_originals=1)
        attempts = list(attack_defense(target, None, torch.from_numpy(images[held_out]), truth, 64, settings))
        broken = torch.zeros(len(truth), dtype=torch.bool)
        for attempt in attempts:
            if attempt.attack in ("none", "pgd"):
                broken[attempt.rows[attempt.broken]] = True
        robust[name] = 1 - broken.float().mean().item()
    assert robust["adversarial"] > 0.85
    assert robust["plain"] < 0.5
