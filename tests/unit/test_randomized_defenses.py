"""The protocol that judges randomized defenses, on one whose true robustness is known."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pipeline.attacks.autoattack import autoattack
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings, attacks_of
from pipeline.attacks.shared.attempts import Attempt
from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.defended import Target
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.runs import Run, Submission, attacked, voted
from pipeline.attacks.square import no_room_for_squares, square
from pipeline.defenses.gaussian_noise_ensemble import gaussian_noise_ensemble
from pipeline.errors import PipelineError
from pipeline.metrics.adaptive import summarize_adaptive
from pipeline.randomness import generator
from pipeline.stages.attack_defense import attempt_rows
from tests.linear import Linear

SIGMA = 0.15  # of the planted noise: a single pass errs on a third of the images that the budget can turn
BUDGET = 0.02
ALL = 10**6  # passes at once: one block
STATIC = {"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]}


def noisy(model: nn.Module, images: Tensor, generator: torch.Generator, *, passes: int) -> Tensor:
    """The planted defense: it adds noise, and buys nothing with it."""
    noise = torch.randn((passes, *images.shape), generator=generator)
    return torch.stack([model(images + SIGMA * one) for one in noise], dim=1)


def planted(count: int = 150) -> tuple[Linear, Target, Tensor, Tensor, Tensor]:
    """A linear classifier of two classes behind noise, gray images, labels, and their true lead over the other class.

    The vote of many passes is the decision without noise, for noise is symmetric. Every tenth label is wrong.
    """
    model = Linear(torch.Generator().manual_seed(0), (1, 8, 8), classes=2).float().requires_grad_(False)
    model.bias -= model(torch.full((1, 1, 8, 8), 0.5))[0]
    images = 0.5 + 0.1 * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)).clamp(-3, 3)
    labels = model(images).argmax(1)
    labels[::10] = 1 - labels[::10]
    logits = model(images)
    lead = (logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None]))[:, 0]
    random = lambda *names: generator(torch.device("cpu"), 0, *names)  # noqa: E731
    return model, Target(noisy, model, {"passes": 10}, random, randomized=True, passes=10), images, labels, lead


def settings_of(**changes: Any) -> AdaptiveSettings:
    settings: dict[str, Any] = {
        "norm": "linf", "epsilons": (BUDGET / 2, BUDGET), "budget": BUDGET, "originals": 150, "sanity_originals": 40,
        "restarts": 3, "curve_restarts": 1, "draws": 10, "scored_draws": 200, "resubmissions": 10, "quiet": 0.0,
        "ascent": {"method": "pgd", "steps": 15, "relative_step_size": 0.5}, "shortest": {"steps": 20},
        "others": {"square": {"queries": 60}, "autoattack": {"steps": 10}},
    }  # fmt: skip
    return AdaptiveSettings(**{**settings, **changes})


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


@pytest.mark.parametrize(("batch", "blocks"), [(60, 1), (1000, 4)])
def test_blocks_are_small_equally_large_and_drawn_apart(batch: int, blocks: int) -> None:
    """A batch at most: so many passes fill it; where only votes are wanted, 16 images have theirs one after the other.

    Blocks are so many at least, of 64 passes each.
    """
    _, target, images, labels, _ = planted(50)
    settings = settings_of(originals=50, sanity_originals=1, others={}, restarts=1)
    sizes: dict[tuple[Any, ...], list[int]] = {}

    def each(function: Any, blocks: Any) -> list[Any]:
        results = []
        for block in blocks:
            of = block.originals if isinstance(block, Run) else block.images
            sizes.setdefault((type(block), block.passes, *block.names[:-1]), []).append(len(of))
            assert block.names[-1] == len(sizes[type(block), block.passes, *block.names[:-1]]) - 1
            results.append(function(block))
        return results

    list(attack_defense(target, None, images, labels, batch, settings, each=each, blocks=blocks))
    for (kind, passes, *_), found in sizes.items():
        assert max(found) - min(found) <= 1
        most = batch // passes if kind is Run else max(batch // passes, 16)
        assert len(found) == max(math.ceil(sum(found) / most), min(blocks, sum(found) * passes // 64, sum(found)))
    assert max(len(found) for found in sizes.values()) > 3


def test_the_budget_is_attacked_on_all_where_a_smaller_one_breaks_them_too() -> None:
    _, target, images, labels, _ = planted(20)
    settings = settings_of(epsilons=(0.3, 0.5), budget=0.5, originals=20, sanity_originals=1, others={}, restarts=1)
    attempts = list(attack_defense(target, None, images, labels, ALL, settings))
    right = attempts[0].rows[~attempts[0].broken]
    small, large = (one for one in attempts if one.attack == "pgd")
    assert (small.epsilon, large.epsilon) == (0.3, 0.5)
    assert small.broken.all()
    assert torch.equal(large.rows, right)


def test_what_is_wrong_without_an_attack_stays_wrong() -> None:
    """Though the last vote, by chance, should find it right: it has not been attacked."""
    _, target, images, labels, _ = planted()

    def each(function: Any, blocks: Any) -> list[Any]:
        results = []
        for block in blocks:
            found = function(block)
            if isinstance(block, Submission) and block.names[:2] in (("score", "worst"), ("doubt", "worst")):
                assert len(block.images) == len(labels)
                right = torch.zeros_like(found["votes"]).scatter_(1, labels[:, None], 200)
                found = {**found, "votes": right, "predicted": labels}
            results.append(found)
        return results

    settings = settings_of(
        others={}, restarts=1, curve_restarts=1, ascent={"method": "pgd", "steps": 1, "relative_step_size": 0.1}
    )
    attempts = list(attack_defense(target, None, images, labels, ALL, settings, each=each))
    clean, worst = attempts[0], attempts[-1]
    assert clean.broken.any()
    assert torch.equal(worst.broken, clean.broken)


def test_the_worst_image_is_one_that_breaks_not_one_of_fewer_votes() -> None:
    """Of three classes an image may lose more votes and stay right."""
    one = Attempt("worst", 1.0, torch.arange(2), torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]),
                  torch.tensor([False, True]), torch.tensor([0.36, 0.38]))  # fmt: skip
    other = Attempt("x", 1.0, torch.arange(2), torch.ones(2, 1, 1, 1), torch.tensor([1, 0]),
                    torch.tensor([True, False]), torch.tensor([0.38, 0.30]))  # fmt: skip
    found = one.updated(other)
    assert found.broken.tolist() == [True, True]
    assert found.images.flatten().tolist() == [1, 0]


@pytest.mark.parametrize(("makes", "words"), [("nan", ""), ("far", "expected images in \\[0, 1\\] within 0.01")])
def test_what_is_no_image_or_outside_the_budget_breaks_nothing(makes: str, words: str) -> None:
    _, target, images, labels, lead = planted(20)
    settings = settings_of(originals=20, sanity_originals=20, restarts=1, others={})

    def spoiled(run: Any, *given: Any, **parameters: Any) -> Any:
        found, *rest = run(*given, **parameters)
        return found * math.nan if makes == "nan" else 1 - found, *rest

    def each(function: Any, blocks: Any) -> list[Any]:
        results = []
        for block in blocks:
            if isinstance(block, Run):
                attack = replace(block.chosen.attack, run=partial(spoiled, block.chosen.attack.run))
                block = replace(block, chosen=replace(block.chosen, attack=attack))
            results.append(function(block))
        return results

    attacks = attack_defense(target, None, images, labels, ALL, settings, each=each)
    if words:
        with pytest.raises(PipelineError, match=words):
            list(attacks)
        return
    found = {attempt.attack: attempt for attempt in attacks}
    assert torch.equal(found["fixed"].images, images)
    assert found["worst"].images.isfinite().all()
    assert not found["worst"].broken[lead > 0.5].any()


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


def test_no_image_of_a_randomized_model_leaves_at_its_first_success() -> None:
    """Square spends all its queries on all images; AutoAttack's rand version and restarts of PGD do too."""
    _, target, images, labels, _ = planted(20)

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.images = target.model(1, "count"), 0

        def forward(self, images: Tensor) -> Tensor:
            self.images += len(images)
            logits: Tensor = self.model(images)
            return logits

    goal, random, spent = Evasion(labels, randomized=True), torch.Generator().manual_seed(0), {}
    about: dict[str, Any] = {"norm": "linf", "epsilon": 10 * BUDGET}
    for name in ("square", "autoattack", "pgd"):
        model = Counting()
        if name == "square":
            square(model, images, goal, random, queries=30, **about)
        elif name == "autoattack":
            autoattack(model, images, goal, random, steps=10, **about)
        else:
            projected_gradient_descent(
                model, images, goal, random, BALLS["linf"], epsilon=10 * BUDGET, relative_step_size=0.5, steps=10,
                restarts=3, random_start=True,
            )  # fmt: skip
        spent[name] = model.images / len(images)
    assert spent["square"] == 31
    assert spent["pgd"] >= 3 * 11
    assert spent["autoattack"] >= 10  # of two classes the cross-entropy alone


def test_an_attack_by_scores_sees_the_same_draws_at_every_query() -> None:
    _, target, images, _, _ = planted(5)
    model = target.model(3, "some", fixed=True)
    assert torch.equal(model(images), model(images))
    model = target.model(3, "some")
    assert not torch.equal(model(images), model(images))


def test_fixed_draws_are_the_same_for_gradients_and_votes() -> None:
    """Passes over few images are folded into one batch, then or never: a folded one has other draws."""
    linear, planted_target, images, _, _ = planted(5)
    calls = []
    linear.register_forward_hook(lambda module, inputs, logits: calls.append(len(logits)))
    target = replace(planted_target, defense=gaussian_noise_ensemble, arguments={"sigma": SIGMA})
    model = target.model(8, "some", fixed=True)
    with torch.no_grad():
        voted_on = model(images)
    torch.testing.assert_close(model(images.requires_grad_()), voted_on)
    assert calls == [5 * 8] * 2


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


def test_a_run_depends_on_its_block_alone() -> None:
    _, target, images, labels, _ = planted(8)
    ascent = attacks_of(settings_of(), "adaptive").ascent
    parameters = {**ascent.parameters, "epsilon": BUDGET}
    run = Run(target, ascent, parameters, images, labels, 3, ("pgd", 0))
    assert torch.equal(attacked(run), attacked(run))
