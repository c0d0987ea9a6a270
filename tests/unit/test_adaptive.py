"""Attacks on whole defenses, adversarial training, and the tripwires."""

import importlib
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import pipeline.attacks
from pipeline.attacks.autoattack import autoattack
from pipeline.attacks.shared.adaptive import STRETCHES, attack_defense
from pipeline.attacks.shared.adaptive_settings import DOUBLINGS, AdaptiveSettings, attacks_of
from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.defended import Target, check_gradients, multiply_adds
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import SURE, Evasion, Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.attacks.shared.runs import Run, Submission, voted
from pipeline.attacks.square import square
from pipeline.defenses.adversarial_training import Adversary
from pipeline.defenses.gaussian_blur import blur
from pipeline.defenses.undefended import undefended
from pipeline.errors import PipelineError
from pipeline.metrics.adaptive import broken_against_length, median_with_interval, summarize_adaptive
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference
from pipeline.models.mlp import FullyConnectedClassifier
from pipeline.training.classifier import divide, fit_classifier, new_classifier
from tests.linear import Linear


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def target_of(defense: Callable[..., Tensor], model: nn.Module, passes: int = 0) -> Target:
    """Generators that depend on their names alone; a randomized defense if it has passes."""
    random = lambda *names: seeded(hash_of(names))  # noqa: E731
    return Target(defense, model, {}, random, randomized=passes > 0, passes=passes or 1)


def hash_of(names: tuple[str | int, ...]) -> int:
    return zlib.crc32("/".join(map(str, names)).encode())


def masked(model: nn.Module, images: Tensor, generator: torch.Generator, *, passes: int) -> Tensor:
    """A randomized defense: each pixel is dropped half of the time, or doubled."""
    masks = torch.randint(2, (passes, *images.shape), generator=generator).to(images.dtype) * 2
    return torch.stack([model(images * mask) for mask in masks], dim=1)


def ascent(**changes: Any) -> dict[str, Any]:
    return {"method": "pgd", "steps": 20, "relative_step_size": 0.2, **changes}


def settings_of(**changes: Any) -> AdaptiveSettings:
    settings: dict[str, Any] = {
        "norm": "linf", "epsilons": (0.002, 0.006, 0.02, 0.6), "budget": 0.006, "originals": 30, "sanity_originals": 10,
        "restarts": 1, "curve_restarts": 1, "draws": 1, "scored_draws": 1, "resubmissions": 1, "quiet": 0.0,
        "ascent": ascent(), "shortest": {"steps": 100},
        "others": {"square": {"queries": 30}, "autoattack": {"steps": 20, "queries": 30}},
    }  # fmt: skip
    return AdaptiveSettings(**{**settings, **changes})


def problem(count: int = 30, classes: int = 5) -> tuple[Linear, Tensor, Tensor]:
    """Images around gray, all far from black and white, rightly classified by a linear model."""
    model = Linear(seeded(), (1, 8, 8), classes=classes).float().requires_grad_(False)
    model.bias -= model(torch.full((1, 1, 8, 8), 0.5))[0]
    images = 0.5 + 0.05 * torch.randn(count, 1, 8, 8, generator=seeded(1))
    return model, images, model(images).argmax(1)


def smallest(model: Linear, images: Tensor, labels: Tensor, order: int) -> Tensor:
    """Norm of the smallest perturbation that changes the class, (n,): |lead| / dual norm of w_k - w_y, least over k."""
    logits = model(images)
    own = logits.gather(1, labels[:, None])
    dual = (model.weight[None] - model.weight[labels][:, None]).norm(p=order, dim=2)
    distances = (own - logits) / dual.clamp_min(1e-12)
    return distances.scatter(1, labels[:, None], torch.inf).amin(1)


def test_the_averaged_gradient_is_its_expectation() -> None:
    """Dropping half of the pixels and doubling the rest leaves W x unchanged on average."""
    model, images, labels = problem(5)
    draws = 4000
    target = target_of(masked, model, passes=1)
    logits, gradients = score_gradients(target.model(draws), images, Evasion(labels).score)
    assert logits.shape == (5, draws, 5)
    rival = logits.mean(1).scatter(1, labels[:, None], -torch.inf).argmax(1)
    expected = (model.weight[rival] - model.weight[labels]).view_as(images)
    # A mask is 0 or 2, of standard deviation 1: five standard errors.
    error = 5 * expected.abs() / draws**0.5
    assert ((gradients - expected).abs() <= error).all()
    one = score_gradients(target.model(1), images, Evasion(labels).score)[1]
    assert not ((one - expected).abs() <= error).all()


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


def test_only_a_randomized_defense_makes_as_many_passes_as_it_is_told() -> None:
    _, images, _ = problem(2)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    one, six = (multiply_adds(target_of(masked, linear, passes=3).model(draws), images) for draws in (1, 6))
    assert six == 6 * one > 0
    plain = target_of(undefended, linear)
    assert plain.passes == plain.model(6).draws == 1
    assert plain.model(6)(images).shape == (2, 1, 5)
    assert target_of(masked, linear, passes=3).model(6)(images).shape == (2, 6, 5)


@pytest.mark.parametrize(
    "model",
    [
        Classifier((3, 8, 8), 4, channels=(4, 8), dropout=0.1),
        FullyConnectedClassifier((3, 8, 8), 4, hidden=(9, 7)),
        Autoencoder((3, 8, 8), channels=(4, 8), dropout=0.1, residual=True),
    ],
)
def test_the_cost_is_what_pytorch_counts(model: nn.Module) -> None:
    images = torch.rand(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(blur(images, 0.7))
    assert multiply_adds(nn.Sequential(Blur(), model), images) == counter.get_total_flops() > 0


class Blur(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return blur(images, 0.7)


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


class AboveLevel(nn.Module):
    """Class 1 where the first pixel is brighter than the second."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

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

    class Capped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

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

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

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


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_outside_attacks_break_what_can_be_broken(classes: int) -> None:
    model, images, labels = problem(classes=classes)
    distance = smallest(model, images, labels, 1)
    epsilon = 0.01
    about: dict[str, Any] = {"norm": "linf", "epsilon": epsilon}
    randomized, goal = (Goal(labels, targeted=False, randomized=randomized) for randomized in (True, False))
    for found, _ in (
        square(model, images, goal, seeded(), queries=100, **about),
        autoattack(model, images, randomized, seeded(), steps=20, queries=20, **about),
        autoattack(model, images, goal, seeded(), steps=20, queries=20, **about),
    ):
        assert (found - images).abs().max() <= epsilon + 1e-6
        broken = model(found).argmax(1) != labels
        assert not broken[distance > epsilon * 1.01].any()
    assert broken[distance < epsilon * 0.9].all()


class Dead(nn.Module):
    """Its outputs do not depend on the image: a gradient of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1)[:, :5] > 0.5).to(images.dtype) * self.scale + 0 * images.flatten(1)[:, :5]


class Scores(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.model(images).softmax(1)
        return scores


def test_tripwires_see_what_they_are_for() -> None:
    model, images, labels = problem()

    def check(defense: Callable[..., Tensor], learned: nn.Module, draws: int = 1, passes: int = 0) -> dict[str, float]:
        return check_gradients(target_of(defense, learned, passes), draws, images, labels, 8)

    assert check(undefended, model) == {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0}
    assert check(undefended, Dead())["zero_gradients"] == 1.0
    assert check(undefended, Scores(model))["softmax"] == 1.0

    def secretly_random(learned: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        return masked(learned, images, generator, passes=1)

    assert check(secretly_random, model)["random"] > 0.9
    assert check(masked, model, draws=1, passes=5)["random"] > 0.9
    assert check(masked, model, draws=3, passes=5)["random"] == 0.0


OTHERS: dict[str, Any] = {
    "others": {"square": {}, "autoattack": {}}, "gradient_free": ["square"], "left_out": {}, "resubmissions": 1,
    "doublings": {"pgd_doubled": 2, "pgd_doubled_twice": 4},
}  # fmt: skip


def attempts_frame(rows: list[tuple[str, float, int, bool]]) -> pd.DataFrame:
    """attack, epsilon, original, broken; every score grows with the original's number."""
    frame = pd.DataFrame(rows, columns=["attack", "epsilon", "original", "broken"])
    broken = frame[frame["epsilon"].fillna(0) <= 0.2].groupby("original")["broken"].any()
    worst = frame[frame["attack"] == "none"].assign(attack="worst", epsilon=0.2)
    worst["broken"] = broken[worst["original"]].to_numpy()
    frame = pd.concat([frame, worst], ignore_index=True).assign(resubmitted=np.nan, label_share=1.0)
    return frame.assign(l2=frame["original"] + 1.0, linf=0.5, logit_margin=-frame["original"].astype(float))


def test_summary_carries_success_on_and_raises_the_tripwires() -> None:
    rows = [("none", np.nan, i, i == 9) for i in range(10)]
    rows += [("pgd", 0.1, i, i < 2) for i in range(9)]
    rows += [("pgd", 0.2, i, i < 5) for i in range(2, 9)]
    rows += [("pgd_doubled", 0.2, i, True) for i in range(2, 9)]
    rows += [("quiet", 0.2, i, True) for i in range(9)]
    rows += [("shortest", np.nan, i, i < 4) for i in range(9)]
    rows += [(attack, 0.2, i, attack == "square") for attack in ("transfer", "square", "autoattack") for i in range(9)]
    settings = {"norm": "linf", "epsilons": (0.1, 0.2), "budget": 0.2, "sanity_originals": 10, **OTHERS}
    static = pd.DataFrame(
        {"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9], "defense": ["a"]}
    )
    check = {"zero_gradients": 0.5, "softmax": 0.0, "random": 0.0, "cost": 3.0}
    found = summarize_adaptive(attempts_frame(rows), settings, check, static)
    assert [found["linf"][e]["value"] for e in ("0", "0.1", "0.2")] == pytest.approx([0.9, 0.7, 0.0])  # of all attacks
    assert found["clean_accuracy"] == found["linf"]["0"]
    assert found["l2_median"]["value"] == 4.5  # 0, 1, ..., 9: of all attacks, one wrong as it is
    assert found["l2_median_right"]["value"] == 5
    assert found["l2_curve"]["broken"][0] == pytest.approx(0.1)  # the error rate
    assert found["sanity"]["adaptive"]["value"] == pytest.approx(0.4)
    assert found["sanity"]["square"]["value"] == 0
    assert found["sanity"]["transfer"]["value"] == pytest.approx(0.9)
    assert found["every_attack"]["value"] == 0
    assert found["doubled"]["change"]["value"] == pytest.approx(-0.4)
    raised = {name for name, wire in found["tripwires"].items() if wire["raised"]}
    assert raised == {"zero_gradients", "doubled"}  # square's four to none of ten: p is 0.125
    assert found["doubled"]["times"] == 2
    assert found["randomness"] is None
    assert found["doubled"]["change"]["p"] == found["sanity"]["lead"]["square"]["p"] == 0.125
    assert found["sanity"]["lead"]["square"]["value"] == pytest.approx(0.4)
    assert found["sanity"]["lead"]["autoattack"]["value"] == pytest.approx(-0.5)
    assert found["detection"] == {"score": "logit_margin", "static_auc": 0.9, "adaptive": None}  # nine are too few
    twice = [(attack, epsilon, 10 + i, broken) for attack, epsilon, i, broken in rows]
    found = summarize_adaptive(attempts_frame(rows + twice), {**settings, "sanity_originals": 20}, check, static)
    assert found["detection"]["adaptive"]["images"] == 18
    assert found["detection"]["adaptive"]["auc"] == pytest.approx(0.5)
    near = attempts_frame([(*row[:3], row[0] == "shortest" or row[3]) for row in rows if row[0] != "square"])
    quiet = near["attack"].isin(("quiet", "pgd_doubled"))
    near.loc[quiet, "broken"] = False
    near.loc[near["attack"] == "worst", "broken"] = near["original"].lt(5) | near["original"].eq(9)
    assert summarize_adaptive(near, settings, check, static)["every_attack"]["value"] == pytest.approx(0.4)
    # The shortest perturbations count within what they are; at the budget the last vote on the strongest images does.
    near["linf"] = 0.05
    half = summarize_adaptive(near, {**settings, "epsilons": (0.1, 0.2, 0.3)}, check, static)["linf"]
    assert [half[epsilon]["value"] for epsilon in ("0.1", "0.2", "0.3")] == pytest.approx([0.4, 0.4, 0])
    assert found["cost"] == 3.0


@pytest.mark.parametrize(("moved", "of", "raised"), [(1, 100, True), (1, 200, False), (0, 100, False)])
def test_a_doubling_that_moves_robust_accuracy_by_a_point_raises_a_wire(moved: int, of: int, raised: bool) -> None:
    """The last doubling counts: four times as much, where twice moved it."""
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1,), "budget": 0.1, "sanity_originals": 1, **OTHERS}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    rows = [(attack, epsilon, i, False) for attack, epsilon in (("none", np.nan), ("pgd", 0.1)) for i in range(of)]
    rows += [("pgd_doubled", 0.1, i, i < 10) for i in range(of)]
    rows += [("pgd_doubled_twice", 0.1, i, i < 10 + moved) for i in range(10, of)]
    found = summarize_adaptive(attempts_frame(rows), settings, check, static)
    assert found["doubled"]["times"] == 4
    assert found["doubled"]["robust_accuracy"]["value"] == pytest.approx(1 - (10 + moved) / of)
    assert found["doubled"]["change"]["value"] == pytest.approx(-moved / of)
    assert found["tripwires"]["doubled"]["raised"] is raised


def test_the_settings_say_which_other_attacks_there_are() -> None:
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1,), "budget": 0.1, "sanity_originals": 20}
    settings |= {**OTHERS, "others": {"mine": {}, "blind": {}}, "gradient_free": ["blind"]}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    rows = [("none", np.nan, i, False) for i in range(20)] + [("pgd", 0.1, i, False) for i in range(20)]
    rows += [("mine", 0.1, i, i < 15) for i in range(20)] + [("blind", 0.1, i, False) for i in range(20)]
    found = summarize_adaptive(attempts_frame(rows), settings, check, static)
    assert found["every_attack"]["value"] == pytest.approx(0.25)
    assert set(found["sanity"]) == {"adaptive", "lead", "mine", "blind"}
    assert found["tripwires"]["mine"]["raised"]
    assert not found["tripwires"]["black_box"]["raised"]


def test_tripwires_compare_the_same_originals() -> None:
    """Six to none are within the interval of a rate, and beyond chance as a difference; four to none are not."""
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1, 0.2), "budget": 0.1, "sanity_originals": 100, **OTHERS}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    for more, expected in ((6, {"black_box", "autoattack", "doubled"}), (4, {"doubled"}), (0, set())):
        rows = [("none", np.nan, i, False) for i in range(100)]
        rows += [("pgd", 0.1, i, i < 50) for i in range(100)] + [("pgd", 0.2, i, True) for i in range(50, 100)]
        rows += [
            (attack, 0.1, i, i < 50 + more) for attack in ("pgd_doubled", "square", "autoattack") for i in range(100)
        ]
        found = summarize_adaptive(attempts_frame(rows), settings, check, static)
        assert {name for name, wire in found["tripwires"].items() if wire["raised"]} == expected
        assert found["sanity"]["lead"]["square"]["value"] == pytest.approx(more / 100)


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
        ({"budget": 0.1}, r"adaptive.x.budget: expected one of adaptive.x.epsilons, found 0.1"),
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


def test_an_attack_of_foolbox_may_be_one_of_the_others() -> None:
    model, images, labels = problem()
    block = {"method": "foolbox", "name": "LinfPGD", "arguments": {"steps": 10, "rel_stepsize": 0.2}}
    settings = settings_of(epsilons=(0.2,), budget=0.2, others={"foolbox_pgd": block})
    *_, last, _ = attack_defense(target_of(undefended, model), None, images, labels, 16, settings)
    assert last.attack == "foolbox_pgd"
    assert last.broken.all()


def test_a_median_may_be_infinite() -> None:
    assert median_with_interval(np.array([1.0, 2.0, 3.0]))["value"] == 2
    found = median_with_interval(np.array([1.0, np.inf, np.inf]))
    assert found["value"] is None
    assert found["low"] == 1


def test_a_wrong_original_needs_nothing_and_is_told_apart() -> None:
    """Half of ten are wrong as they are: the median over all is near 0, over the right ones it is not."""
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1,), "budget": 0.1, "sanity_originals": 10, **OTHERS}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    rows = [("none", np.nan, i, i < 6) for i in range(10)] + [("pgd", 0.1, i, True) for i in range(6, 10)]
    rows += [("shortest", np.nan, i, True) for i in range(6, 10)]
    examples = attempts_frame(rows).assign(l2=2.0)
    found = summarize_adaptive(examples, settings, check, static)
    assert found["l2_median"]["value"] == 0
    assert found["l2_median_right"]["value"] == 2
    assert found["l2_curve"] == {"l2": [0.0, 2.0], "broken": [0.6, 1.0]}
    wrong = examples[examples["attack"] == "none"].assign(broken=True)
    assert summarize_adaptive(wrong, settings, check, static)["l2_median_right"] is None


def test_the_curve_of_lengths_starts_at_the_error_rate_and_rises_to_what_was_found() -> None:
    needed = np.r_[0, 0, np.linspace(1, 2, 197), np.inf]
    found = broken_against_length(needed)
    assert found["broken"][0] == pytest.approx(0.01)
    assert found["broken"][-1] == pytest.approx(0.995)
    assert found["broken"] == sorted(found["broken"])
    assert len(found["l2"]) == len(found["broken"]) <= 61
    for length, share in zip(found["l2"], found["broken"], strict=True):
        assert share == pytest.approx((needed <= length).mean())


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
    assert robust["adversarial"] >= robust["plain"]


@pytest.mark.parametrize("classes", [3])
def test_the_inference_form_is_the_same_function(classes: int) -> None:
    torch.manual_seed(0)
    model = Classifier((3, 8, 8), classes, channels=(4, 8), dropout=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    model.double().eval()
    images = torch.rand(5, 3, 8, 8, dtype=torch.float64, generator=seeded())
    expected = model(images).detach()
    folded = for_inference(model, torch.device("cpu"))
    assert folded is model
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    torch.testing.assert_close(folded(images), expected, rtol=0, atol=1e-12)
