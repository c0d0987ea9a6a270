"""Images of any shape are attacked; what does not fit is left out, and said."""

import pytest
import torch

from pipeline.attacks.autoattack import autoattack
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.defended import Target
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.square import no_room_for_squares
from tests.linear import Linear
from tests.planted import settings_of


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("randomized", [True, False])
@pytest.mark.parametrize(("height", "width"), [(16, 4), (4, 4), (8, 8)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_shape_is_attacked(classes: int, randomized: bool, height: int, width: int, norm: str) -> None:
    """Losses of three logits and squares that do not fit in are left out; the rest runs, and breaks what it can."""
    model = Linear(torch.Generator().manual_seed(0), (1, height, width), classes=classes).float().requires_grad_(False)
    images = torch.rand(6, 1, height, width, generator=torch.Generator().manual_seed(1))
    goal = Goal(model(images).argmax(1), targeted=False, randomized=randomized)
    found, _ = autoattack(
        model, images, goal, torch.Generator().manual_seed(2), norm=norm, epsilon=5.0, steps=5, queries=5
    )
    assert goal.reached(model(found)).all()
    assert bool(no_room_for_squares(norm, height, width)) == (
        (height, width) != (8, 8) and (norm, height) != ("linf", 4)
    )


def test_an_attack_that_does_not_fit_is_left_out_with_its_reason() -> None:
    model = Linear(torch.Generator().manual_seed(0), (1, 16, 4), classes=3).float().requires_grad_(False)
    images = torch.rand(6, 1, 16, 4, generator=torch.Generator().manual_seed(1))
    target = Target(lambda m, x, g: m(x)[:, None], model, {}, lambda *names: torch.Generator().manual_seed(0))
    settings = settings_of(originals=6, sanity_originals=6, others={"square": {}})
    attempts = list(attack_defense(target, None, images, model(images).argmax(1), 16, settings))
    assert "square" not in {attempt.attack for attempt in attempts}
    assert settings.described(16, 4)["left_out"] == {
        "square": "expected images that hold a square of 7 x 7 pixels, found 16 x 4"
    }
    assert settings.described(8, 8)["left_out"] == {}
