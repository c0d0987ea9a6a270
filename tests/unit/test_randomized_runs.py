"""How a randomized defense is attacked and judged: blocks, draws, what counts as found."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.attacks.autoattack import autoattack
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.adaptive_settings import attacks_of
from pipeline.attacks.shared.attempts import Attempt
from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.goals import Evasion
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.runs import Run, Submission, attacked
from pipeline.attacks.square import square
from pipeline.defenses.gaussian_noise_ensemble import gaussian_noise_ensemble
from pipeline.errors import PipelineError
from tests.planted import ALL, BUDGET, SIGMA, planted, settings_of


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


def test_each_run_of_the_ascent_starts_elsewhere() -> None:
    """On the fixed defense too, whose own random numbers are those of the first run."""
    _, target, images, labels, _ = planted(20)
    settings = settings_of(originals=20, sanity_originals=1, others={}, restarts=3)
    asked: list[tuple[str | int, ...]] = []

    def random(*names: str | int) -> torch.Generator:
        asked.append(names)
        return target.random(*names)

    list(attack_defense(replace(target, random=random), None, images, labels, ALL, settings))
    starts = [names for names in asked if names[-1] == "start"]
    assert len(set(starts)) == len(starts)
    assert {names for names in starts if names[0] == "fixed"} == {
        ("fixed", 0, "start"), ("fixed", 0, 1, "start"), ("fixed", 0, 2, "start"),
    }  # fmt: skip
    assert {names for names in asked if names[0] == "fixed"} - set(starts) == {("fixed", 0)}


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


def test_a_run_depends_on_its_block_alone() -> None:
    _, target, images, labels, _ = planted(8)
    ascent = attacks_of(settings_of(), "adaptive").ascent
    parameters = {**ascent.parameters, "epsilon": BUDGET}
    run = Run(target, ascent, parameters, images, labels, 3, ("pgd", 0))
    assert torch.equal(attacked(run), attacked(run))
