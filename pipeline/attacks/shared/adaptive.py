"""White-box attacks on a whole defense, in expectation over its randomness (Athalye, Carlini, Wagner, 2018).

A defense judged on images that were made for the undefended model is judged by an attacker who does not know of it.
These attacks go through all of it: autoencoder, dropout, noise and classifier, averaged over several draws of its
random numbers at every step (EOT), untargeted. What they find is then judged over many fresh draws. Which attacks
these are, the settings say: any file of `pipeline.attacks` that can leave a label.

No lucky draw decides: an image leaves a search only where it is surely wrong, and whether it is broken is judged by
fresh draws, not by those that it was found by; of the strongest image of all attacks by fresh ones once more.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.adaptive_settings import DOUBLINGS, AdaptiveSettings, Chosen, attacks_of
from pipeline.attacks.shared.attempts import SURELY, Attempt, Each, Judge, counted
from pipeline.attacks.shared.budgets import fooled_within
from pipeline.attacks.shared.defended import Target, as_it_is
from pipeline.attacks.shared.runs import Run, attacked, attacked_fixed
from pipeline.errors import PipelineError
from pipeline.metrics.adaptive import CONVERGED, ROUNDING
from pipeline.models.inference import to_unit_interval

STRETCHES = (1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
LEAST = 1e-3  # of a budget, as a share, and of [0, 1]: what leaves either by more is no rounding


def attack_defense(
    target: Target,
    undefended: nn.Module | None,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    settings: AdaptiveSettings,
    advance: Callable[[str, int], object] = lambda what, count: None,
    each: Each = map,
    blocks: int = 1,
) -> Iterator[Attempt]:
    """All attacks, one after the other.

    Parameters
    ----------
    undefended : the classifier whose own adversarial images are tried on the defense; None if it is the defense.
    images, labels : originals, uint8 or float (n, c, h, w), and int64 (n,), on the model's device.
    batch_size : passes at once; images of a block are as many fewer as a step has draws.
    advance : called with an attack's name and how many images were judged.
    each : calls `attacked` or `voted` with block after block and gives the results in order, as `map` does.
    blocks : that images are cut into at least, where each then makes WORTHWHILE passes at once or more.

    An original that was broken within an epsilon is so within every larger one, and is not tried again, but at the
    budget against a randomized defense. Random numbers are named by attack, epsilon, run and block: one attack more
    leaves the others as they are.

    Raises PipelineError as `attacks_of` does, or if an attack leaves its budget.
    """
    attacker = _Attacker(target, images, labels, batch_size, settings, advance, each, blocks)
    yield from attacker.attempts(undefended)


class _Attacker:
    def __init__(
        self,
        target: Target,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        settings: AdaptiveSettings,
        advance: Callable[[str, int], object],
        each: Each,
        blocks: int,
    ) -> None:
        self.attacks = attacks_of(settings, "adaptive")
        self.left_out = settings.described(*images.shape[2:])["left_out"]
        self.target, self.labels, self.settings = target, labels, settings
        self.originals = to_unit_interval(images, target.learned)
        self.advance, self.each = advance, each
        self.judge = Judge(target, labels, settings, batch_size, advance, each, blocks)

    def attempts(self, undefended: nn.Module | None) -> Iterator[Attempt]:
        settings, budget = self.settings, self.settings.budget
        every = torch.arange(len(self.labels), device=self.labels.device)
        clean = self.judge.judged("none", None, every, self.originals)
        yield clean
        right = clean.rows[~clean.broken]
        worst = clean
        if len(right):
            for attempt in self.at_epsilons(right):
                if attempt.epsilon is not None and attempt.epsilon <= budget:
                    worst = worst.updated(attempt)
                yield attempt
            for attempt in self.at_budget(right, worst):
                worst = worst.updated(attempt)
                yield attempt
            shortest = self.shortest(right)
            yield shortest
            worst = worst.updated(shortest.at(self.within(shortest, budget)))
            few = right[(right < settings.sanity_originals) | ~worst.broken[right]]
            if len(few):
                for attempt in self.outside(few, undefended):
                    worst = worst.updated(attempt)
                    yield attempt
        again = self.judge.judged("worst", budget, worst.rows, worst.images)
        # One that was wrong without an attack has not been attacked, and stays wrong.
        predicted = torch.where(clean.broken, clean.predicted, again.predicted)
        worst = replace(again, predicted=predicted, broken=clean.broken | again.broken)
        if self.target.randomized:
            yield self.fixed()
            worst = self.judge.resubmitted(worst)
        yield worst

    def at_epsilons(self, right: Tensor) -> Iterator[Attempt]:
        """The ascent at each epsilon, on what no smaller one broke; of a randomized defense at the budget on all.

        What a smaller one broke of that may have been luck, and is not the strongest image.
        """
        found: dict[float, Attempt] = {}
        budget, everything = self.settings.budget, torch.arange(len(right), device=right.device)

        def attempt(epsilon: float, open_: Tensor) -> Tensor:
            runs = self.settings.restarts if epsilon == budget else self.settings.curve_restarts
            open_ = open_.to(right.device)
            tried = everything if epsilon == budget and self.target.randomized else open_
            found[epsilon] = self.ascend("pgd", epsilon, right[tried], runs)
            return found[epsilon].broken[torch.searchsorted(tried, open_)]

        fooled_within(attempt, len(right), self.settings.epsilons)
        if self.target.randomized and budget not in found:
            attempt(budget, everything)
        yield from found.values()

    def at_budget(self, right: Tensor, worst: Attempt) -> Iterator[Attempt]:
        """The ascent again: by twice as much on what it left, as long as that moves robust accuracy; and quietly."""
        settings, left = self.settings, right[~worst.broken[right]]
        for times, name in DOUBLINGS.items():
            if not len(left):
                break
            doubled = self.ascend(name, settings.budget, left, times * settings.restarts, times)
            yield doubled
            left = left[~doubled.broken]
            if doubled.broken.sum().item() < CONVERGED * len(self.labels):
                break
        # A single pass has no disagreement to keep low.
        quiet = settings.quiet if self.target.randomized else 0.0
        yield self.ascend("quiet", settings.budget, right, quiet=quiet)

    def shortest(self, rows: Tensor) -> Attempt:
        """The nearest images, each stretched away from its original until the vote is wrong, if ever."""
        nearest = self.run(self.attacks.shortest, ("shortest",), rows, self.target)
        found = self.judge.judged("shortest", None, rows, nearest)
        for stretch in STRETCHES:
            open_ = (~found.broken).nonzero()[:, 0]
            if not len(open_):
                break
            start = self.originals[rows[open_]]
            farther = (start + stretch * (nearest[open_] - start)).clamp(0, 1)
            tried = self.judge.judged("shortest", None, rows[open_], farther, of=f"{stretch:g}")
            found = found.updated(tried.at(tried.broken))
        return found

    def outside(self, rows: Tensor, undefended: nn.Module | None) -> Iterator[Attempt]:
        """Images made for the undefended classifier, and the other attacks, at the budget."""
        if undefended is not None:
            plain = Target(as_it_is, undefended, {}, self.target.random)
            yield self.ascend("transfer", self.settings.budget, rows, of=plain)
        for name, chosen in self.attacks.others.items():
            if name not in self.left_out:
                found = self.run(chosen, (name,), rows, self.target)
                yield self.judge.judged(name, self.settings.budget, rows, found)

    def fixed(self) -> Attempt:
        """The ascent at the budget against the defense as deployed, its random numbers known and fixed."""
        epsilon, passes, ascent = self.settings.budget, self.target.passes, self.attacks.ascent
        rows = torch.arange(len(self.labels), device=self.labels.device)
        parameters = {**ascent.parameters, ascent.bound: epsilon}
        runs = [
            Run(
                self.target, ascent, parameters, self.originals[part], self.labels[part], passes, ("fixed", block),
                precision=self.settings.precision,
            )
            for block, part in enumerate(self.judge.blocks(rows, passes))
        ]  # fmt: skip
        parts = list(self.each(partial(attacked_fixed, restarts=self.settings.restarts), runs))
        images, predicted = (torch.cat(part) for part in zip(*parts, strict=True))
        self.check_within(ascent, images, rows, epsilon)
        self.advance("fixed", len(rows))
        broken = predicted != self.labels
        return Attempt("fixed", epsilon, rows, images, predicted, broken, 1 - broken.float())

    def ascend(
        self,
        name: str,
        epsilon: float,
        rows: Tensor,
        restarts: int = 1,
        times: int = 1,
        quiet: float = 0.0,
        of: Target | None = None,
    ) -> Attempt:
        """Runs of the ascent with `times` the steps and draws, each on what those before have left; the best images."""
        ascent = self.attacks.ascent
        changed = {ascent.bound: epsilon, "steps": times * ascent.parameters["steps"]}
        best, leads = self.originals[rows], torch.full((len(rows),), torch.inf, device=rows.device)
        left = torch.arange(len(rows), device=rows.device)
        for restart in range(restarts):
            names = (name, str(epsilon), *((restart,) if restart else ()))
            found = self.run(ascent, names, rows[left], of or self.target, times, restart, quiet, **changed)
            if restart == restarts - 1 and restart == 0:
                best = found
                break
            votes = self.judge.votes(self.settings.scored_draws, ("search", *names), found)
            predicted, _, lead = counted(votes, self.labels[rows[left]])
            better = lead < leads[left]
            best[left[better]], leads[left[better]] = found[better], lead[better]
            left = left[lead >= -SURELY if self.target.randomized else predicted == self.labels[rows[left]]]
            if not len(left):
                break
        return self.judge.judged(name, epsilon, rows, best)

    def run(
        self,
        chosen: Chosen,
        names: tuple[str | int, ...],
        rows: Tensor,
        of: Target,
        times: int = 1,
        restart: int = 0,
        quiet: float = 0.0,
        **changed: Any,
    ) -> Tensor:
        """What an attack makes of the rows, some parameters `changed`, with `times` the draws a step."""
        passes = times * self.settings.draws if of.randomized else 1
        parameters = {**chosen.parameters, **changed}
        runs = [
            Run(
                of, chosen, parameters, self.originals[at], self.labels[at], passes, (*names, block), restart, quiet,
                precision=self.settings.precision,
            )
            for block, at in enumerate(self.judge.blocks(rows, passes))
        ]  # fmt: skip
        found = torch.cat(list(self.each(attacked, runs)))
        if chosen.bound:
            self.check_within(chosen, found, rows, parameters[chosen.bound])
        return found

    def check_within(self, chosen: Chosen, found: Tensor, rows: Tensor, epsilon: float) -> None:
        """Raise PipelineError if an attack has left its budget, or [0, 1]: what it found would count as broken."""
        farthest = self.lengths(found, rows).max().item()
        if farthest > epsilon * (1 + LEAST) or found.min() < -LEAST or found.max() > 1 + LEAST:
            raise PipelineError(
                f"{chosen.attack.name}: expected images in [0, 1] within {epsilon:g} ({self.settings.norm}) of their "
                f"originals, found some at {farthest:.3g}, from {found.min():.3g} to {found.max():.3g}"
            )

    def within(self, attempt: Attempt, epsilon: float) -> Tensor:
        """Which images lie within epsilon of their originals, bool (m,)."""
        return self.lengths(attempt.images, attempt.rows) <= epsilon * (1 + ROUNDING)

    def lengths(self, images: Tensor, rows: Tensor) -> Tensor:
        """How far images are from their originals in the norm, (m,)."""
        moved = (images - self.originals[rows]).flatten(1)
        return moved.abs().amax(1) if self.settings.norm == "linf" else moved.norm(dim=1)
