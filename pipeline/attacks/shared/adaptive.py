"""White-box attacks on a whole defense, in expectation over its randomness (Athalye, Carlini, Wagner, 2018).

A defense judged on images that were made for the undefended model is judged by an attacker who does not know of it.
These attacks go through all of it: autoencoder, dropout, noise and classifier, averaged over several draws of its
random numbers at every step (EOT), untargeted. What they find is then scored over many fresh draws. Which attacks
these are, the settings say: any file of `pipeline.attacks` that can leave a label.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.budgets import fooled_within, within_threat
from pipeline.attacks.shared.defended import Target, as_it_is, score
from pipeline.attacks.shared.goals import Evasion
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.errors import PipelineError
from pipeline.models.inference import to_unit_interval
from pipeline.params import arguments_for
from pipeline.ranges import Range
from pipeline.registry import split_method

Count = Annotated[int, Range(1, 1000000)]
STRETCHES = (1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
OURS = ("none", "pgd", "pgd_doubled", "quiet", "shortest", "transfer")  # no other attack may be called so


@dataclass(frozen=True, kw_only=True)
class AdaptiveSettings:
    """How a defense is attacked.

    norm, epsilons, budget : of the curve of robust accuracy; the budget, one of the epsilons, is the stated one.
    originals : test originals attacked. sanity_originals : the first of them, that the other attacks are run on;
    and on every other one that the attacks at the budget have left.
    draws : passes averaged at each step, of a randomized defense. scored_draws : passes that judge what was found.
    quiet : weight of the passes' disagreement in the attack that evades the detector too.

    Blocks of attacks, `method` naming the file, the rest its parameters, norm and budget filled in from above:
    ascent : run at each epsilon; at the budget again with twice the `steps` and draws, and again quietly.
    shortest : that looks for the shortest perturbation, without a budget.
    others : by name, run at the budget; `method` may be left out where the name is the file's.
    """

    norm: Literal["linf", "l2"]
    epsilons: tuple[Annotated[float, Range(0, 1000, low_open=True)], ...]
    budget: Annotated[float, Range(0, 1000, low_open=True)]
    originals: Count
    sanity_originals: Count
    draws: Annotated[int, Range(1, 1000)]
    scored_draws: Annotated[int, Range(1, 10000)]
    quiet: Annotated[float, Range(0, 1000)]
    ascent: dict[str, Any]
    shortest: dict[str, Any]
    others: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """The settings as they are stored, and which of the other attacks ask for no gradients."""
        others = attacks_of(self, "adaptive").others
        return {**asdict(self), "gradient_free": [name for name, one in others.items() if not one.attack.gradients]}


@dataclass(frozen=True)
class Chosen:
    """An attack with its checked parameters, and which of them bounds it, "" if none does."""

    attack: Attack
    parameters: dict[str, Any]
    bound: str


@dataclass(frozen=True)
class Attacks:
    """The attacks that settings name; see `AdaptiveSettings`."""

    ascent: Chosen
    shortest: Chosen
    others: dict[str, Chosen]


def attacks_of(settings: AdaptiveSettings, where: str) -> Attacks:
    """The attacks that the settings name, their parameters checked; `where` names the block.

    Raises PipelineError if the budget is none of the epsilons, or if an attack is not there, has no such parameters,
    cannot leave a label, or is not bounded as its place asks for.
    """
    if settings.budget not in settings.epsilons:
        raise PipelineError(f"{where}.budget: expected one of {where}.epsilons, found {settings.budget:g}")

    def choose(key: str, block: Any, at: str, bounded: bool = True) -> Chosen:
        file, own = split_method(key, block, at)
        attack = load_attack(file)
        own = within_threat(attack, own, {settings.norm: settings.budget}, at)
        bound = attack.budget_for(own)
        wanted = f"an attack with a budget in {settings.norm}" if bounded else "an attack without a budget"
        if (bound and bound.norm) != (settings.norm if bounded else None):
            raise PipelineError(f"{at}: expected {wanted}, found {attack.name}")
        if not attack.untargeted:
            raise PipelineError(f"{at}: expected an attack that leaves the label; {attack.name} only takes targets")
        return Chosen(attack, arguments_for(attack.run, own, at), bound.parameter if bound else "")

    ascent = choose("pgd", settings.ascent, f"{where}.ascent")
    if "steps" not in ascent.parameters:
        raise PipelineError(f"{where}.ascent.steps: missing; its doubling shows whether they are enough")
    others = {}
    for name, block in settings.others.items():
        if name in OURS:
            raise PipelineError(f"{where}.others.{name}: expected another name than {', '.join(OURS)}")
        others[name] = choose(name, block, f"{where}.others.{name}")
    shortest = choose("minimum_norm", settings.shortest, f"{where}.shortest", bounded=False)
    return Attacks(ascent, shortest, others)


@dataclass(frozen=True)
class Attempt:
    """What one attack made of some of the originals, and how the defense votes on it.

    attack : "none", "pgd" (the ascent), "pgd_doubled", "quiet", "shortest", "transfer", or the name of another one.
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

    Raises PipelineError as `attacks_of` does.
    """
    attacks = attacks_of(settings, "adaptive")
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

    def run(
        chosen: Chosen,
        names: tuple[str, ...],
        rows: Tensor,
        of: Target,
        times: int = 1,
        quiet: float = 0.0,
        **more: Any,
    ) -> Tensor:
        """What an attack makes of the rows, its `more` parameters set, with `times` the draws a step."""
        passes = times * draws if of.randomized else 1
        found = []
        size = max(1, batch_size // passes) if chosen.attack.gradients else batch_size
        for block, part in enumerate(rows.split(size)):
            model = of.model(passes, *names, block)
            goal = Evasion(labels[part], quiet=quiet, randomized=of.randomized)
            parameters = {**chosen.parameters, **more}
            found.append(chosen.attack(model, originals[part], goal, model.generator, **parameters)[0])
        return torch.cat(found)

    def ascend(name: str, of: Target, rows: Tensor, epsilon: float, times: int = 1, quiet: float = 0.0) -> Tensor:
        """The ascent with `times` the steps and draws."""
        changed = {attacks.ascent.bound: epsilon, "steps": times * attacks.ascent.parameters["steps"]}
        return run(attacks.ascent, (name, str(epsilon)), rows, of, times, quiet, **changed)

    clean = judged("none", None, torch.arange(len(labels), device=labels.device), originals)
    yield clean
    right = clean.rows[~clean.broken]
    if not len(right):
        return

    attempts: dict[float, Attempt] = {}

    def attempt(epsilon: float, open_: Tensor) -> Tensor:
        rows = right[open_.to(right.device)]
        attempts[epsilon] = judged("pgd", epsilon, rows, ascend("pgd", target, rows, epsilon))
        return attempts[epsilon].broken

    fooled_within(attempt, len(right), settings.epsilons)
    yield from attempts.values()
    at_budget = [found for epsilon, found in attempts.items() if epsilon <= budget]
    if budget in attempts:
        rows = attempts[budget].rows
        at_budget.append(judged("pgd_doubled", budget, rows, ascend("pgd_doubled", target, rows, budget, times=2)))
        yield at_budget[-1]
    # A single pass has no disagreement to keep low.
    quiet = settings.quiet if target.randomized else 0.0
    at_budget.append(judged("quiet", budget, right, ascend("quiet", target, right, budget, quiet=quiet)))
    yield at_budget[-1]

    yield _shortest(judged, right, originals, run(attacks.shortest, ("shortest",), right, target))

    broken = torch.zeros_like(clean.broken)
    for found in at_budget:
        broken[found.rows[found.broken]] = True
    few = right[(right < settings.sanity_originals) | ~broken[right]]
    if not len(few):
        return
    if undefended is not None:
        plain = Target(as_it_is, undefended, {}, target.random)
        yield judged("transfer", budget, few, ascend("transfer", plain, few, budget))
    for name, chosen in attacks.others.items():
        yield judged(name, budget, few, run(chosen, (name,), few, target))


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
