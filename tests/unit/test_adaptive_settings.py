"""What attacks a study may name against whole defenses: ours, one of its own, Foolbox's; and what cannot be."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline.attacks
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.adaptive_settings import DOUBLINGS, attacks_of
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.defenses.undefended import undefended
from pipeline.errors import PipelineError
from tests.whole_defenses import ascent, masked, problem, settings_of, target_of

TOY = '''"""Step by step towards what the goal raises, by the gradient's sign."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack, Budget
from pipeline.models.modes import frozen
from pipeline.ranges import Range


def toy(
    model: nn.Module, images: Tensor, goal: Goal, *, epsilon: Annotated[float, Range(0, 1)], steps: int = 5
) -> tuple[Tensor, Tensor]:
    found = images
    with frozen(model):
        for _ in range(steps):
            _, gradients = score_gradients(model, found, goal.lead)
            found = (found + epsilon / steps * gradients.sign()).clamp(0, 1)
    return found, torch.full_like(goal.labels, steps)


attack = Attack(run=toy, budget=Budget("epsilon", "linf"))
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attack]:
    """An attack of a user's own: one file."""
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(pipeline.attacks, "__path__", [*pipeline.attacks.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield load_attack("toy")
    del sys.modules["pipeline.attacks.toy"]


@pytest.mark.parametrize("passes", [0, 3])
def test_one_function_makes_sets_and_attacks_whole_defenses(toy: Attack, passes: int) -> None:
    model, images, labels = problem()
    targets = (labels + 1) % 5
    found, _ = run_attack(toy, model, images, torch.arange(len(images)), Goal(targets), 7, epsilon=0.2)
    assert (model(found).argmax(1) == targets).all()
    defense = masked if passes else undefended
    few = {"draws": 3, "scored_draws": 9, "epsilons": (0.006, 0.2), "budget": 0.2}
    others = {"toy": {}, "longer": {"method": "toy", "steps": 9}}
    settings = settings_of(ascent={"method": "toy", "steps": 5}, others=others, **few)
    attempts = list(attack_defense(target_of(defense, model, passes), model, images, labels, 16, settings))
    names = [attempt.attack for attempt in attempts if attempt.attack not in DOUBLINGS.values()]
    others = ["transfer", "toy", "longer"]
    assert names == ["none", "pgd", "pgd", "quiet", "shortest", *others, *(["fixed"] if passes else []), "worst"]
    by_name = {attempt.attack: attempt for attempt in attempts}
    assert by_name["longer"].broken.all()
    assert by_name["toy"].broken.all()
    for attempt in attempts:
        if attempt.epsilon is not None:
            assert (attempt.images - images[attempt.rows]).abs().max() <= attempt.epsilon + 1e-6
    # The ascent with the same parameters, though by other draws.
    ascended = next(attempt for attempt in attempts if attempt.attack == "pgd" and attempt.epsilon == 0.2)
    assert ascended.broken.all()
    assert settings.described(8, 8)["gradient_free"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": 0.1}, r"^budget: expected one of epsilons, 0\.002, 0\.006, 0\.02, 0\.6; found 0\.1: add it there"),
        (
            {"ascent": {"method": "minimal", "step_size": 1, "max_steps": 3}},
            r"x.ascent: expected an attack with a budg",
        ),
        ({"ascent": {"method": "fgsm"}}, r"adaptive.x.ascent.steps: missing; its doubling"),
        (
            {"ascent": {"method": "pgd_l2", "relative_step_size": 1, "steps": 3}},
            r"x.ascent.epsilon: missing; the threat",
        ),
        ({"ascent": {"method": "nonsense"}}, r"unknown attack 'nonsense'"),
        ({"ascent": ascent(stride=1)}, r"adaptive.x.ascent.stride: unknown parameter"),
        (
            {"ascent": ascent(restarts=3)},
            r"adaptive.x.ascent.restarts: expected none, for `restarts` beside it",
        ),
        ({"shortest": {"method": "fgsm"}}, r"x.shortest: expected an attack without a budget, found fgsm"),
        ({"others": {"jsma": {"positions_per_step": 1}}}, r"x.others.jsma.allowed_fraction: missing; the threat model"),
        ({"others": {"ddn": {"steps": 5}}}, r"x.others.ddn: expected an attack with a budget in linf, found ddn"),
        ({"others": {"square": {"norm": "l2"}}}, r"x.others.square.epsilon: missing; the threat model has no"),
        ({"others": {"square": {"norm": "up"}}}, r"square: expected a norm among l0, l1, l2, linf, found 'up'"),
        ({"others": {"quiet": {"method": "fgsm"}}}, r"x.others.quiet: expected another name than none, pgd"),
        ({"others": {"square": None}}, r"adaptive.x.others.square: expected a block of parameters, found None"),
    ],
)
def test_settings_that_name_what_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineError, match=words) as found:
        attacks_of(settings_of(**changes), "adaptive.x")
    assert "\n" not in str(found.value)


def test_an_attack_of_foolbox_may_be_one_of_the_others() -> None:
    model, images, labels = problem()
    block = {"method": "foolbox", "name": "LinfPGD", "arguments": {"steps": 10, "rel_stepsize": 0.2}}
    settings = settings_of(epsilons=(0.2,), budget=0.2, others={"foolbox_pgd": block})
    *_, last, _ = attack_defense(target_of(undefended, model), None, images, labels, 16, settings)
    assert last.attack == "foolbox_pgd"
    assert last.broken.all()
