"""White-box attacks on a whole defense, in expectation over its randomness (Athalye, Carlini, Wagner, 2018).

A defense judged on images that were made for the undefended model is judged by an attacker who does not know of it.
These attacks go through all of it: autoencoder, dropout, noise and classifier, averaged over several draws of its
random numbers at every step (EOT), untargeted. What they find is then scored over many fresh draws.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import conv_flop_count

from pipeline.attacks.ascent import score_gradients
from pipeline.attacks.budgets import fooled_within
from pipeline.attacks.goals import Evasion
from pipeline.attacks.minimum_norm import shortest_perturbation
from pipeline.attacks.outside import autoattack, square
from pipeline.attacks.projected_gradient import BALLS, projected_gradient_descent
from pipeline.defenses.undefended import undefended as one_pass
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
    originals : test originals attacked. sanity_originals : the first of them, that the outside attacks are run on;
    and on every other one that the attacks at the budget have left.
    steps, relative_step_size, restarts : of projected gradient ascent at each epsilon: the first step's size, of which
    the others fall linearly towards zero; each run after the first goes for the original's next best other class.
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
    rows : int64 (m,), which originals. images : float (m, c, h, w). predicted : int64 (m,), the vote of the scored
    draws. broken : bool (m,), that is not the label. scores : of "none" and "quiet" what the defense's own passes say,
    as many as it makes when it is used; see `summarize_passes`.
    """

    attack: str
    epsilon: float | None
    rows: Tensor
    images: Tensor
    predicted: Tensor
    broken: Tensor
    scores: Mapping[str, Tensor] = field(default_factory=dict)


class Defended(nn.Module):
    """A defense as one model: images (n, c, h, w) to the logits of all its passes, (n, passes, k), differentiable.

    A randomized defense makes `draws` passes, with fresh random numbers at every call; any other makes its one.
    """

    def __init__(self, target: "Target", draws: int, generator: torch.Generator) -> None:
        super().__init__()
        self.learned, self.defense, self.generator = target.learned, target.defense, generator
        self.arguments = {**target.arguments, "passes": draws} if target.randomized else dict(target.arguments)
        self.draws = draws if target.randomized else 1

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.defense(self.learned, images, self.generator, **self.arguments)
        return logits


@dataclass(frozen=True)
class Target:
    """What is attacked.

    defense : a function of `pipeline.defenses`. learned : what it is called with, in evaluation mode, its weights
    without gradients. arguments : its keyword arguments. random : a fresh generator by name, on the device.
    """

    defense: Callable[..., Tensor]
    learned: nn.Module
    arguments: Mapping[str, Any]
    random: Callable[..., torch.Generator]

    @property
    def randomized(self) -> bool:
        """Whether it draws random numbers: then its number of passes is a parameter."""
        return "passes" in inspect.signature(self.defense).parameters

    @property
    def passes(self) -> int:
        """How many passes it makes when it is used."""
        if not self.randomized:
            return 1
        default = inspect.signature(self.defense).parameters["passes"].default
        return int(self.arguments.get("passes", default))

    def model(self, draws: int, *names: str | int) -> Defended:
        """It with `draws` passes, its random numbers named."""
        return Defended(self, draws, self.random(*names))


class MeanLogits(nn.Module):
    """The mean over the passes, (n, k): for attacks that know no passes."""

    def __init__(self, defended: Defended) -> None:
        super().__init__()
        self.defended = defended

    def forward(self, images: Tensor) -> Tensor:
        mean: Tensor = self.defended(images).mean(1)
        return mean


def attack_defense(
    target: Target,
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
    undefended : the classifier whose own adversarial images are tried on the defense; None if it is the defense.
    images, labels : originals, uint8 or float (n, c, h, w), and int64 (n,), on the model's device.
    batch_size : passes at once; images at once are as many fewer as a step has draws.

    An original that was broken within an epsilon is so within every larger one, and is not tried again. Random numbers
    are named by attack, epsilon and block: one attack more leaves the others as they are.
    """
    originals = to_unit_interval(images, target.learned)
    budget = settings.budget
    draws = settings.draws if target.randomized else 1

    def judged(attack: str, epsilon: float | None, rows: Tensor, found: Tensor, of: str = "") -> Attempt:
        advance(attack if epsilon is None else f"{attack} {epsilon:g}", len(rows))
        names = attack, str(epsilon), of
        votes = score(target.model(settings.scored_draws, "score", *names), found, batch_size)["predicted"]
        scores = {}
        if attack in ("none", "quiet"):
            scores = score(target.model(target.passes, "detect", *names), found, batch_size)
        return Attempt(attack, epsilon, rows, found, votes, votes != labels[rows], scores)

    def by_block(rows: Tensor, passes: int, find: Callable[[Tensor, int], Tensor]) -> Tensor:
        return torch.cat([find(part, i) for i, part in enumerate(rows.split(max(1, batch_size // passes)))])

    def within(attack: str, of: Target, rows: Tensor, epsilon: float, times: int = 1, quiet: float = 0.0) -> Tensor:
        """Projected gradient ascent with `times` the steps and draws."""

        passes = times * draws if of.randomized else 1

        def ascend(part: Tensor, block: int) -> Tensor:
            model = of.model(passes, attack, str(epsilon), block)
            found, _ = projected_gradient_descent(
                model,
                originals[part],
                Evasion(labels[part], quiet=quiet),
                model.generator,
                BALLS[settings.norm],
                epsilon=epsilon,
                relative_step_size=settings.relative_step_size,
                steps=times * settings.steps,
                restarts=settings.restarts,
                random_start=True,
                decay=True,
            )
            return found

        return by_block(rows, passes, ascend)

    clean = judged("none", None, torch.arange(len(labels), device=labels.device), originals)
    yield clean
    right = clean.rows[~clean.broken]
    if not len(right):
        return

    attempts: dict[float, Attempt] = {}

    def attempt(epsilon: float, open_: Tensor) -> Tensor:
        rows = right[open_.to(right.device)]
        attempts[epsilon] = judged("pgd", epsilon, rows, within("pgd", target, rows, epsilon))
        return attempts[epsilon].broken

    fooled_within(attempt, len(right), settings.epsilons)
    yield from attempts.values()
    at_budget = [found for epsilon, found in attempts.items() if epsilon <= budget]
    if budget in attempts:
        rows = attempts[budget].rows
        at_budget.append(judged("pgd_doubled", budget, rows, within("pgd_doubled", target, rows, budget, times=2)))
        yield at_budget[-1]
    # A single pass has no disagreement to keep low.
    quiet = settings.quiet if target.randomized else 0.0
    at_budget.append(judged("quiet", budget, right, within("quiet", target, right, budget, quiet=quiet)))
    yield at_budget[-1]

    def walk(part: Tensor, block: int) -> Tensor:
        model = target.model(draws, "shortest", block)
        return shortest_perturbation(model, originals[part], Evasion(labels[part]), steps=settings.l2_steps)

    yield _shortest(judged, right, originals, by_block(right, draws, walk))

    broken = torch.zeros_like(clean.broken)
    for found in at_budget:
        broken[found.rows[found.broken]] = True
    few = right[(right < settings.sanity_originals) | ~broken[right]]
    if not len(few):
        return
    if undefended is not None:
        plain = Target(one_pass, undefended, {}, target.random)
        yield judged("transfer", budget, few, within("transfer", plain, few, budget))

    def search(part: Tensor, block: int) -> Tensor:
        model = target.model(draws, "square", block)
        about = originals[part], labels[part], model.generator, settings.norm, budget
        return square(MeanLogits(model), *about, settings.queries)

    def ensemble(part: Tensor, block: int) -> Tensor:
        model = target.model(draws, "autoattack", block)
        about = originals[part], labels[part], model.generator, settings.norm, budget
        return autoattack(MeanLogits(model), *about, settings.steps, settings.queries, target.randomized)

    yield judged("square", budget, few, by_block(few, 1, search))
    yield judged("autoattack", budget, few, by_block(few, draws, ensemble))


def _shortest(judged: Callable[..., Attempt], rows: Tensor, originals: Tensor, nearest: Tensor) -> Attempt:
    """The nearest images, each stretched away from its original until the vote over fresh draws is wrong, if ever."""
    found: Attempt = judged("shortest", None, rows, nearest.clone())
    for stretch in STRETCHES:
        open_ = found.broken.logical_not().nonzero()[:, 0]
        if not len(open_):
            break
        start = originals[rows[open_]]
        farther = (start + stretch * (nearest[open_] - start)).clamp(0, 1)
        tried = judged("shortest", None, rows[open_], farther, of=f"{stretch:g}")
        found.images[open_], found.predicted[open_], found.broken[open_] = tried.images, tried.predicted, tried.broken
    return found


def score(defended: Defended, images: Tensor, batch_size: int) -> dict[str, Tensor]:
    """What all passes say of float images (n, c, h, w), see `summarize_passes`."""
    parts = []
    with torch.no_grad():  # no inference mode: what it makes may not be written into afterwards
        for part in images.split(batch_size):
            parts.append(summarize_passes(defended(to_unit_interval(part, defended.learned))))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def check_gradients(target: Target, draws: int, images: Tensor, labels: Tensor, batch_size: int) -> dict[str, float]:
    """What the tripwires look at, on some images (n, c, h, w): shares of them, in [0, 1].

    draws : that the attack averages over. zero_gradients : the gradient of what the attack raises is zero everywhere.
    softmax : the outputs look like probabilities, not logits. random : two passes over the same image differ, though
    the attack makes one draw a step.
    """
    model = target.model(draws, "checks")
    found = []
    size = max(1, batch_size // model.draws)
    for part, truth in zip(images.split(size), labels.split(size), strict=True):
        originals = to_unit_interval(part, target.learned)
        with frozen(model):
            logits, gradients = score_gradients(model, originals, Evasion(truth).score)
            with torch.no_grad():
                again = model(originals)
        like_softmax = ((logits >= 0) & (logits <= 1)).all(2) & ((logits.sum(2) - 1).abs() < 1e-4)
        random = (logits != again).flatten(1).any(1) & (model.draws == 1)
        zero = gradients.flatten(1).abs().amax(1) == 0
        found.append(torch.stack([zero, like_softmax.all(1), random]))
    shares = torch.cat(found, 1).double().mean(1).tolist()
    return dict(zip(("zero_gradients", "softmax", "random"), shares, strict=True))


def multiply_adds(model: nn.Module, images: Tensor) -> int:
    """Twice the multiply-adds of a forward pass over these images: of its convolutions and linear layers."""
    with _Counting() as counter, torch.no_grad():
        model(images)
    operations: int = counter.operations
    return operations


class _Counting(TorchFunctionMode):
    """What PyTorch's FlopCounterMode counts of our models (tested); that one's first use imports the compiler."""

    operations: int = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        if function in (functional.conv2d, functional.conv_transpose2d):
            transposed = function is functional.conv_transpose2d
            self.operations += conv_flop_count(args[0].shape, args[1].shape, found.shape, transposed)
        elif function is functional.linear:
            self.operations += 2 * found.numel() * args[1].shape[1]
        return found
