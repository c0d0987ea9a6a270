"""White-box attacks on a whole defense, in expectation over its randomness (Athalye, Carlini, Wagner, 2018).

A defense judged on images that were made for the undefended model is judged by an attacker who does not know of it.
These attacks go through all of it: autoencoder, dropout, noise and classifier, averaged over several draws of its
random numbers at every step (EOT), untargeted. What they find is then scored over many fresh draws.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pipeline.attacks.ascent import score_gradients
from pipeline.attacks.budgets import fooled_within
from pipeline.attacks.goals import Evasion
from pipeline.attacks.minimum_norm import shortest_perturbation
from pipeline.attacks.outside import autoattack, square
from pipeline.attacks.projected_gradient import BALLS, projected_gradient_descent
from pipeline.metrics.votes import summarize_passes
from pipeline.models.inference import to_unit_interval
from pipeline.models.modes import frozen
from pipeline.ranges import Range

Count = Annotated[int, Range(1, 1000000)]
STRETCHES = (1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class AdaptiveSettings:
    """How a defense is attacked.

    norm, epsilons, budget : of the curve of robust accuracy; the budget, one of the epsilons, is the stated one.
    originals : test originals attacked. sanity_originals : of them, those that the outside attacks are run on.
    steps, relative_step_size, restarts : of projected gradient ascent at each epsilon.
    draws : passes averaged at each step, of a randomized defense. scored_draws : passes that judge what was found.
    l2_steps : of `minimum_norm`, which looks for the shortest perturbation. queries : of Square.
    quiet : weight of the passes' disagreement in the attack that evades the detector too.
    """

    norm: Literal["linf", "l2"]
    epsilons: tuple[Annotated[float, Range(0, 1000, low_open=True)], ...]
    budget: Annotated[float, Range(0, 1000, low_open=True)]
    originals: Count
    sanity_originals: Count
    steps: Annotated[int, Range(1, 10000)]
    relative_step_size: Annotated[float, Range(0, 2, low_open=True)]
    restarts: Annotated[int, Range(1, 30)]
    draws: Annotated[int, Range(1, 1000)]
    scored_draws: Annotated[int, Range(1, 10000)]
    l2_steps: Annotated[int, Range(1, 10000)]
    queries: Annotated[int, Range(1, 100000)]
    quiet: Annotated[float, Range(0, 1000)]


@dataclass(frozen=True)
class Attempt:
    """What one attack made of some of the originals, and how the defense votes on it.

    attack : "none", "pgd", "pgd_doubled", "shortest", "quiet", "transfer", "square" or "autoattack".
    rows : int64 (m,), which originals. images : float (m, c, h, w). passes : see `summarize_passes`, over the scored
    draws. broken : bool (m,), the vote is not the label.
    """

    attack: str
    epsilon: float | None
    rows: Tensor
    images: Tensor
    passes: Mapping[str, Tensor]
    broken: Tensor


class Defended(nn.Module):
    """A defense as one model: images (n, c, h, w) to the logits of all its passes, (n, passes, k), differentiable.

    defense : a function of `pipeline.defenses`. learned : what it is called with. A randomized defense, one whose
    `passes` are a parameter, makes `draws` passes, with fresh random numbers at every call; any other makes its one.
    """

    def __init__(
        self,
        defense: Callable[..., Tensor],
        learned: nn.Module,
        settings: Mapping[str, Any],
        generator: torch.Generator,
        draws: int,
    ) -> None:
        super().__init__()
        self.defense, self.learned, self.generator = defense, learned, generator
        self.randomized = "passes" in inspect.signature(defense).parameters
        self.settings = {**settings, "passes": draws} if self.randomized else dict(settings)
        self.draws = draws if self.randomized else 1

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.defense(self.learned, images, self.generator, **self.settings)
        return logits

    def with_draws(self, draws: int) -> "Defended":
        """The same defense, another number of passes."""
        return Defended(self.defense, self.learned, self.settings, self.generator, draws)


class MeanLogits(nn.Module):
    """The mean over the passes, (n, k): for attacks that know no passes."""

    def __init__(self, defended: Defended) -> None:
        super().__init__()
        self.defended = defended

    def forward(self, images: Tensor) -> Tensor:
        mean: Tensor = self.defended(images).mean(1)
        return mean


def attack_defense(
    defended: Defended,
    undefended: nn.Module | None,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    settings: AdaptiveSettings,
    advance: Callable[[str, int], object] = lambda what, count: None,
) -> Iterator[Attempt]:
    """All attacks, one after the other.

    Parameters
    ----------
    defended : in evaluation mode, its weights without gradients.
    undefended : the classifier whose own adversarial images are tried on the defense; None if it is the defense.
    images, labels : originals, uint8 or float (n, c, h, w), and int64 (n,), on the model's device.
    batch_size : passes at once; images at once are as many fewer as a step has draws.

    An original that was broken within an epsilon is so within every larger one, and is not tried again.
    """
    attacker = defended.with_draws(settings.draws)
    originals = to_unit_interval(images, defended.learned)
    budget = settings.budget

    def judged(attack: str, epsilon: float | None, rows: Tensor, found: Tensor) -> Attempt:
        advance(attack if epsilon is None else f"{attack} {epsilon:g}", len(rows))
        passes = score(defended.with_draws(settings.scored_draws), found, batch_size)
        return Attempt(attack, epsilon, rows, found, passes, passes["predicted"] != labels[rows])

    def within(model: Defended, rows: Tensor, epsilon: float, steps: int, quiet: float = 0.0) -> Tensor:
        def ascend(part: Tensor) -> Tensor:
            found, _ = projected_gradient_descent(
                model,
                originals[part],
                Evasion(labels[part], quiet=quiet),
                model.generator,
                BALLS[settings.norm],
                epsilon=epsilon,
                relative_step_size=settings.relative_step_size,
                steps=steps,
                restarts=settings.restarts,
                random_start=True,
            )
            return found

        return torch.cat([ascend(part) for part in rows.split(max(1, batch_size // model.draws))])

    clean = judged("none", None, torch.arange(len(labels), device=labels.device), originals)
    yield clean
    right = clean.rows[~clean.broken]
    if not len(right):
        return

    attempts: dict[float, Attempt] = {}

    def attempt(epsilon: float, open_: Tensor) -> Tensor:
        rows = right[open_.to(right.device)]
        attempts[epsilon] = judged("pgd", epsilon, rows, within(attacker, rows, epsilon, settings.steps))
        return attempts[epsilon].broken

    fooled_within(attempt, len(right), settings.epsilons)
    yield from attempts.values()
    if budget in attempts:
        rows = attempts[budget].rows
        doubled = within(attacker.with_draws(2 * settings.draws), rows, budget, 2 * settings.steps)
        yield judged("pgd_doubled", budget, rows, doubled)
    if settings.quiet and defended.randomized:
        yield judged("quiet", budget, right, within(attacker, right, budget, settings.steps, settings.quiet))
    else:  # a single pass has no disagreement to keep low
        yield judged("quiet", budget, right, within(attacker, right, budget, settings.steps))

    nearest = [
        shortest_perturbation(attacker, originals[part], Evasion(labels[part]), steps=settings.l2_steps)
        for part in right.split(max(1, batch_size // attacker.draws))
    ]
    yield _shortest(judged, right, originals, torch.cat(nearest))

    few = right[right < settings.sanity_originals]
    if not len(few):
        return
    if undefended is not None:
        plain = Defended(_one_pass, undefended, {}, attacker.generator, 1)
        yield judged("transfer", budget, few, within(plain, few, budget, settings.steps))
    about = MeanLogits(attacker), originals[few], labels[few], attacker.generator, settings.norm, budget
    yield judged("square", budget, few, square(*about, settings.queries))
    found = autoattack(*about, settings.steps, settings.queries, defended.randomized)
    yield judged("autoattack", budget, few, found)


def _one_pass(model: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
    logits: Tensor = model(images)
    return logits[:, None]


def _shortest(
    judged: Callable[[str, float | None, Tensor, Tensor], Attempt], rows: Tensor, originals: Tensor, nearest: Tensor
) -> Attempt:
    """The nearest images, each stretched away from its original until the vote over fresh draws is wrong, if ever."""
    found = judged("shortest", None, rows, nearest)
    for stretch in STRETCHES:
        open_ = found.broken.logical_not().nonzero()[:, 0]
        if not len(open_):
            break
        start = originals[rows[open_]]
        tried = judged("shortest", None, rows[open_], (start + stretch * (nearest[open_] - start)).clamp(0, 1))
        for kept, new in (
            (found.images, tried.images),
            (found.broken, tried.broken),
            *((found.passes[name], values) for name, values in tried.passes.items()),
        ):
            kept[open_] = new
    return found


def score(defended: Defended, images: Tensor, batch_size: int) -> dict[str, Tensor]:
    """What all passes say of float images (n, c, h, w), see `summarize_passes`."""
    parts = []
    with torch.no_grad():  # no inference mode: what it makes may not be written into afterwards
        for part in images.split(batch_size):
            parts.append(summarize_passes(defended(to_unit_interval(part, defended.learned))))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def check_gradients(defended: Defended, images: Tensor, labels: Tensor) -> dict[str, float]:
    """What the tripwires look at, on some images (n, c, h, w): shares of them, in [0, 1].

    zero_gradients : the gradient of what the attack raises is zero everywhere. softmax : the outputs look like
    probabilities, not logits. random : two passes over the same image differ, though the defense is not known as
    randomized.
    """
    originals = to_unit_interval(images, defended.learned)
    with frozen(defended):
        logits, gradients = score_gradients(defended, originals, Evasion(labels).score)
        with torch.no_grad():
            again = defended(originals)
    like_softmax = ((logits >= 0) & (logits <= 1)).all(2) & ((logits.sum(2) - 1).abs() < 1e-4)
    random = (logits != again).flatten(1).any(1)
    return {
        "zero_gradients": (gradients.flatten(1).abs().amax(1) == 0).float().mean().item(),
        "softmax": like_softmax.all(1).float().mean().item(),
        "random": 0.0 if defended.randomized else random.float().mean().item(),
    }
