"""Attacks on whole defenses: what each finds, what it is tried on, how it is judged."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.attacks.shared.adaptive import STRETCHES, attack_defense
from pipeline.attacks.shared.goals import SURE, Evasion
from pipeline.attacks.shared.runs import Run, Submission, voted
from pipeline.defenses.undefended import undefended
from tests.networks import Scaled
from tests.seeds import seeded
from tests.whole_defenses import ascent, masked, problem, settings_of, smallest, target_of


def test_robust_accuracy_and_needed_norm_are_the_closed_forms() -> None:
    model, images, labels = problem()
    settings = settings_of()
    attempts = list(attack_defense(target_of(undefended, model), None, images, labels, 8, settings))
    smallest_linf = smallest(model, images, labels, 1)
    for epsilon in settings.epsilons:
        expected = smallest_linf < epsilon
        broken = torch.zeros(len(labels), dtype=torch.bool)
        for attempt in attempts:
            if attempt.attack == "pgd" and attempt.epsilon <= epsilon:
                broken[attempt.rows[attempt.broken]] = True
        sure = (smallest_linf / epsilon - 1).abs() > 0.02
        # The lead of the best other class is convex in the image: now and then ascent ends on the wrong side.
        assert not (broken & ~expected)[sure].any()
        assert (broken & expected).sum() >= 0.9 * expected.sum()
    shortest = next(attempt for attempt in attempts if attempt.attack == "shortest")
    found = (shortest.images - images[shortest.rows]).flatten(1).norm(dim=1)
    ratio = found / smallest(model, images, labels, 2)[shortest.rows]
    assert shortest.broken.all()
    assert (ratio >= 1 - 1e-4).all()
    assert ratio.median() < 1.1
    # What is broken is not tried again.
    tried = {attempt.epsilon: set(attempt.rows.tolist()) for attempt in attempts if attempt.attack == "pgd"}
    assert tried[0.002] > tried[0.006] > tried.get(0.02, set()) >= tried.get(0.6, set())
    names = [attempt.attack for attempt in attempts]
    assert {"none", "pgd", "quiet", "shortest", "square", "autoattack"} <= set(names)
    assert "transfer" not in names


def test_found_images_keep_the_ball_and_the_box() -> None:
    model, images, labels = problem()
    images[:5] = images[:5].clamp(0, 0.02)  # dark ones: the box cuts the ball
    labels = model(images).argmax(1)
    for norm in ("linf", "l2"):
        settings = settings_of(norm=norm, draws=3, scored_draws=5, quiet=1.0)
        for attempt in attack_defense(target_of(masked, model, passes=2), model, images, labels, 200, settings):
            assert attempt.images.min() >= 0
            assert attempt.images.max() <= 1
            if attempt.epsilon is not None:
                moved = (attempt.images - images[attempt.rows]).flatten(1)
                length = moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)
                assert (length <= attempt.epsilon * (1 + 1e-4)).all(), attempt.attack


def test_what_was_found_is_judged_by_the_vote_over_fresh_draws() -> None:
    model, images, labels = problem()
    settings = settings_of(draws=4, scored_draws=25)
    target = target_of(masked, model, passes=7)
    votes = voted(Submission(target, 9, ("some",), images))["votes"]
    assert votes.sum(1).tolist() == [9] * len(images)
    attempts = {a.attack: a for a in attack_defense(target, None, images, labels, 1000, settings)}
    for attempt in attempts.values():
        assert torch.equal(attempt.broken, attempt.predicted != labels[attempt.rows])
    # A detector sees as many passes as the defense makes when it is used.
    assert (attempts["quiet"].scores["votes"].sum(1) == 7).all()
    assert not attempts["pgd"].scores


def test_one_more_budget_leaves_the_other_attacks_draws_alone() -> None:
    model, images, labels = problem()
    target = target_of(masked, model, passes=3)
    found = []
    for epsilons in ((0.006, 0.6), (0.001, 0.006, 0.6)):
        settings = settings_of(epsilons=epsilons, draws=3, scored_draws=5)
        attempts = attack_defense(target, None, images, labels, 1000, settings)
        found.append({(a.attack, a.epsilon): a for a in attempts})
    for attack in ("none", "quiet", "shortest"):
        (key,) = [key for key in found[0] if key[0] == attack]
        assert torch.equal(found[0][key].images, found[1][key].images)
        assert torch.equal(found[0][key].predicted, found[1][key].predicted)


class AboveLevel(Scaled):
    """Class 1 where the first pixel is brighter than the second."""

    def forward(self, images: Tensor) -> Tensor:
        lead = self.scale * (images[:, 0, 0, 0] - images[:, 0, 0, 1])
        return torch.stack([torch.zeros_like(lead), lead], 1)


def test_stretching_multiplies_the_first_perturbation() -> None:
    """Images that a vote does not give up at once are moved on by STRETCHES of the nearest one, no further."""
    images = torch.zeros(4, 1, 2, 2)
    images[:, 0, 0, 1] = torch.tensor([0.1, 0.13, 0.395, 0.9]) - 1e-4  # how bright the first pixel has to be
    nearest = images.clone()
    nearest[:, 0, 0, 0] = 0.1
    labels = torch.zeros(4, dtype=torch.int64)

    def each(function: Callable[[Any], Any], blocks: Iterable[Any]) -> list[Any]:
        """The search for the shortest finds the first pixel at 0.1."""
        return [
            nearest[rows_of(block.originals)]
            if isinstance(block, Run) and block.names[0] == "shortest"
            else function(block)
            for block in blocks
        ]

    def rows_of(originals: Tensor) -> Tensor:
        return (originals[:, None] == images[None]).flatten(2).all(2).int().argmax(1)

    settings = settings_of(epsilons=(0.01,), budget=0.01, others={})
    attempts = attack_defense(target_of(undefended, AboveLevel()), None, images, labels, 8, settings, each=each)
    found = next(attempt for attempt in attempts if attempt.attack == "shortest")
    assert found.broken.tolist() == [True, True, True, False]
    torch.testing.assert_close(found.images[:, 0, 0, 0], torch.tensor([0.1, 0.135, 0.1 * max(STRETCHES), 0.1]))


def test_a_quiet_attack_lowers_the_disagreement() -> None:
    model, images, labels = problem()
    model.weight *= 4
    logits = masked(model, images, seeded(), passes=50)
    loud, quiet = (Evasion(labels, quiet=weight).score(logits) for weight in (0.0, 2.0))
    torch.testing.assert_close(loud.clamp_max(SURE) - quiet, 2 * logits.softmax(2).var(1, correction=0).sum(1))
    assert Evasion(labels).at(torch.tensor([1, 2])).labels.tolist() == labels[1:3].tolist()
    means = {}
    for weight in (0.0, 10.0):
        settings = settings_of(draws=20, scored_draws=9, quiet=weight, budget=0.6, ascent=ascent(steps=30))
        attempts = attack_defense(target_of(masked, model, passes=200), None, images, labels, 600, settings)
        attempt = next(a for a in attempts if a.attack == "quiet")
        assert attempt.broken.all()
        means[weight] = attempt.scores["vote_variance"].mean().item()
    assert means[10.0] < 0.9 * means[0.0]


def test_outside_attacks_see_the_first_originals_and_what_ours_left() -> None:
    model, images, labels = problem()
    settings = settings_of(epsilons=(0.006, 0.6), budget=0.006, sanity_originals=3)
    attempts = {a.attack: a for a in attack_defense(target_of(undefended, model), None, images, labels, 8, settings)
                if a.epsilon != 0.6}  # fmt: skip
    left = set(range(len(labels)))
    for attack in ("pgd", "pgd_doubled", "quiet"):
        left -= set(attempts[attack].rows[attempts[attack].broken].tolist())
    assert left
    assert max(left) >= 3
    for attack in ("square", "autoattack"):
        assert set(attempts[attack].rows.tolist()) == left | {0, 1, 2}


@pytest.mark.parametrize("alone", ["pgd", "quiet", "shortest", "transfer", "fgsm"])
def test_the_worst_of_all_attacks_is_that_of_any_alone(alone: str) -> None:
    """Every other one gives the originals back."""
    model, images, labels = problem()

    def each(function: Callable[[Any], Any], blocks: Iterable[Any]) -> list[Any]:
        return [
            block.originals if isinstance(block, Run) and block.names[0] != alone else function(block)
            for block in blocks
        ]

    settings = settings_of(epsilons=(0.2,), budget=0.2, sanity_originals=30, others={"fgsm": {}})
    *_, worst = attack_defense(target_of(undefended, model), model, images, labels, 16, settings, each=each)
    assert worst.attack == "worst"
    assert worst.broken.all()
