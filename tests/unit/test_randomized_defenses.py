"""The protocol that judges randomized defenses, on one whose true robustness is known."""

import math
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.attempts import Attempt
from pipeline.attacks.shared.runs import Run, Submission, voted
from pipeline.metrics.adaptive import summarize_adaptive
from pipeline.stages.attack_defense import attempt_rows
from tests.linear import Linear
from tests.planted import ALL, BUDGET, SIGMA, planted, settings_of

STATIC = {"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]}


@pytest.fixture(scope="module")
def asked() -> tuple[list[Attempt], list[tuple[Any, Any]]]:
    """All attempts, and every block that was done for them with what came of it."""
    _, target, images, labels, _ = planted()
    done: list[tuple[Any, Any]] = []

    def each(function: Any, blocks: Any) -> list[Any]:
        found = [(block, function(block)) for block in blocks]
        done.extend(found)
        return [result for _, result in found]

    return list(attack_defense(target, None, images, labels, ALL, settings_of(), each=each)), done


@pytest.fixture(scope="module")
def attempts(asked: tuple[list[Attempt], list[tuple[Any, Any]]]) -> list[Attempt]:
    return asked[0]


def test_a_doubling_doubles_steps_draws_and_runs(asked: tuple[list[Attempt], list[tuple[Any, Any]]]) -> None:
    runs = [block for block, _ in asked[1] if isinstance(block, Run)]
    plain = [run for run in runs if run.names[:2] == ("pgd", str(BUDGET))]
    twice = [run for run in runs if run.names[0] == "pgd_doubled"]
    assert {(run.parameters["steps"], run.passes) for run in plain} == {(15, 10)}
    assert {(run.parameters["steps"], run.passes) for run in twice} == {(30, 20)}
    assert {run.restart for run in plain} == {0, 1, 2}
    assert {run.restart for run in twice} == {0, 1, 2, 3, 4, 5}


def test_no_draw_is_made_twice_and_what_is_not_surely_wrong_is_searched_on(
    asked: tuple[list[Attempt], list[tuple[Any, Any]]],
) -> None:
    votes = [(block.names, result["votes"]) for block, result in asked[1] if isinstance(block, Submission)]
    assert len({names for names, _ in votes}) == len(votes)
    _, _, _, labels, _ = planted()
    (attempt,) = [one for one in asked[0] if one.attack == "pgd" and one.epsilon == BUDGET]
    assert len(attempt.rows) == int((~asked[0][0].broken).sum())  # all, not those alone that half of it left
    (found,) = [counts for names, counts in votes if names[:3] == ("search", "pgd", str(BUDGET)) and len(names) == 4]
    own = found.gather(1, labels[attempt.rows][:, None])[:, 0]
    surely = (200 - 2 * own) / 200**0.5 > 3
    (again,) = [run for run, _ in asked[1] if isinstance(run, Run) and run.names[:3] == ("pgd", str(BUDGET), 1)]
    assert len(again.originals) == int((~surely).sum()) > int((own > 100).sum())


@pytest.fixture(scope="module")
def summary(attempts: list[Attempt]) -> dict[str, Any]:
    _, _, images, labels, _ = planted()
    places = torch.arange(len(labels)).numpy()
    table = pd.concat([attempt_rows(attempt, images, labels, places) for attempt in attempts])
    settings = settings_of().described(8, 8)
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    return summarize_adaptive(table, settings, check, pd.DataFrame(STATIC))


def lost(model: Linear, epsilon: float) -> float:
    """How much of the lead a perturbation of every pixel by epsilon takes."""
    return epsilon * float((model.weight[0] - model.weight[1]).abs().sum())


def vote_of_ten(single: Tensor) -> Tensor:
    """How likely the vote of ten passes is right, each right with the probability `single`; a tie is a coin's."""
    right = [math.comb(10, count) * single**count * (1 - single) ** (10 - count) for count in range(5, 11)]
    return right[0] / 2 + torch.stack(right[1:]).sum(0)


def test_a_defense_that_only_adds_noise_scores_its_true_figure(summary: dict[str, Any]) -> None:
    """Within two points."""
    model, _, _, _, lead = planted()
    for epsilon, found in ((0.0, "0"), (BUDGET / 2, f"{BUDGET / 2:g}"), (BUDGET, f"{BUDGET:g}")):
        true = float((lead > lost(model, epsilon)).double().mean())
        assert 0.1 < true < 0.95
        assert summary["linf"][found]["value"] == pytest.approx(true, abs=0.021)
    assert summary["every_attack"] == summary["linf"][f"{BUDGET:g}"]
    assert not summary["tripwires"]["doubled"]["raised"]


def test_what_chance_and_resubmission_make_of_it_are_the_closed_forms(summary: dict[str, Any]) -> None:
    """Of images moved as far as the budget allows, or left where they are wrong as they are."""
    model, _, _, _, lead = planted()
    moved = torch.where(lead > 0, lead - lost(model, BUDGET), lead).double()
    spread = SIGMA * float((model.weight[0] - model.weight[1]).norm())
    single = 0.5 * (1 + torch.erf(moved / spread / math.sqrt(2)))
    deployed = vote_of_ten(single)
    found = summary["randomness"]
    assert found["resubmissions"] == 10
    assert found["single_query"]["value"] == pytest.approx(float(single.mean()), abs=0.02)
    assert found["deployed_vote"]["value"] == pytest.approx(float(deployed.mean()), abs=0.03)
    assert found["worst_of"]["value"] == pytest.approx(float((deployed**10).mean()), abs=0.04)
    # Fixed and known, the noise is a shift of the image: all are moved, those that are wrong as they are too.
    single = 0.5 * (1 + torch.erf((lead - lost(model, BUDGET)).double() / spread / math.sqrt(2)))
    assert found["fixed"]["value"] == pytest.approx(float(vote_of_ten(single).mean()), abs=0.08)


def test_a_success_counts_only_where_fresh_draws_confirm_it(attempts: list[Attempt]) -> None:
    """What stands far from its boundary, noise or not, no attack is credited with; and Square and AutoAttack work."""
    model, _, _, _, lead = planted()
    by_name = {attempt.attack: attempt for attempt in attempts}
    assert [attempt.attack for attempt in attempts][-2:] == ["fixed", "worst"]
    for attempt in attempts:
        if attempt.epsilon == BUDGET and attempt.attack != "fixed":
            safe = lead[attempt.rows] > 1.1 * lost(model, BUDGET)
            assert not attempt.broken[safe].any(), attempt.attack
    for name in ("square", "autoattack"):
        attempt = by_name[name]
        weak = (lead[attempt.rows] < 0.5 * lost(model, BUDGET)) & (lead[attempt.rows] > 0)
        assert weak.sum() >= 5
        assert attempt.broken[weak].double().mean() > 0.9, name


def test_where_chance_may_decide_ten_times_as_many_fresh_draws_do(attempts: list[Attempt]) -> None:
    _, target, images, labels, _ = planted()
    first = voted(Submission(target, 200, ("score", "none", "None", "", 0), images))
    own = first["votes"].gather(1, labels[:, None])[:, 0]
    doubtful = (2 * own - 200).abs() <= 42  # three deviations of a difference of 200 votes
    assert 5 < doubtful.sum() < len(doubtful) - 5
    more = voted(Submission(target, 2000, ("doubt", "none", "None", "", 0), images[doubtful]))
    clean = attempts[0]
    assert torch.equal(clean.predicted[doubtful], more["predicted"])
    assert torch.equal(clean.predicted[~doubtful], first["predicted"][~doubtful])
    assert torch.equal(clean.label_share[~doubtful], own[~doubtful] / 200)
