"""Projected gradient descent that is tried again: towards other classes, with steps that fall."""

import pytest
import torch
from torch import Tensor

from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from tests.networks import Scaled
from tests.seeds import seeded


def test_a_run_tried_again_goes_for_the_next_best_class() -> None:
    logits = torch.tensor([[[3.0, 1.0, 2.0, 0.0]], [[0.0, 1.0, 2.0, 3.0]]])
    goal = Evasion(torch.tensor([0, 0]))
    rivals = [goal.tried_again(restart, lambda: logits).rival for restart in (1, 2, 3)]
    assert [rival.tolist() for rival in rivals if rival is not None] == [[1, 2], [3, 1], [2, 3]]
    again = goal.tried_again(1, lambda: logits)
    assert again.score(logits).tolist() == [-2.0, 2.0]
    assert again.at(torch.tensor([1])).score(logits[1:]).tolist() == [2.0]
    assert again.reached(logits).tolist() == [False, True]  # any other class will do
    assert goal.score(logits).tolist() == [-1.0, 3.0]
    towards = Goal(goal.labels)
    assert towards.tried_again(1, lambda: pytest.fail("a target needs no prediction")) is towards


def test_restarts_towards_other_classes_break_more() -> None:
    """The best other class is as bright as the image can make it; only the third can overtake the label."""
    labels = torch.zeros(2, dtype=torch.int64)

    class Capped(Scaled):
        def forward(self, images: Tensor) -> Tensor:
            level = images.flatten(1).mean(1)
            second = 0.9 - (level - 0.5).square()
            rows = torch.stack([torch.ones_like(level), second, 0.5 - 3 * (level - 0.5)], dim=1)
            return (rows * self.scale)[:, None]

    images = torch.full((2, 1, 4, 4), 0.6)
    broken = []
    for restarts in (1, 2):
        found, _ = projected_gradient_descent(
            Capped(), images, Evasion(labels), seeded(), BALLS["linf"], epsilon=0.35, relative_step_size=0.05, steps=30,
            restarts=restarts, random_start=False,
        )  # fmt: skip
        broken.append(Evasion(labels).reached(Capped()(found)).tolist())
    assert broken == [[False, False], [True, True]]


def test_falling_steps_settle_where_equal_ones_jump_over() -> None:
    """The label falls within 0.01 of one brightness; equal steps of 0.0875 go back and forth over it."""

    class Narrow(Scaled):
        def forward(self, images: Tensor) -> Tensor:
            away = (images.flatten(1).mean(1) - 0.523).abs()
            return (torch.stack([away, torch.full_like(away, 0.01)], dim=1) * self.scale)[:, None]

    images, goal = torch.full((1, 1, 4, 4), 0.5), Evasion(torch.zeros(1, dtype=torch.int64))
    reached = []
    for decay in (False, True):
        found, _ = projected_gradient_descent(
            Narrow(), images, goal, seeded(), BALLS["linf"], epsilon=0.35, relative_step_size=0.25, steps=20,
            restarts=1, random_start=False, decay=decay,
        )  # fmt: skip
        reached.append(goal.reached(Narrow()(found)).item())
    assert reached == [False, True]
