"""Blocks of images under one run of an attack, and under one vote; done here or by the mapper's processes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.adaptive_settings import Chosen
from pipeline.attacks.shared.defended import Target, as_it_is
from pipeline.attacks.shared.goals import Evasion
from pipeline.mapper import Advance, in_order
from pipeline.metrics.votes import summarize_passes
from pipeline.models.precision import Precision

NOBODY = Target(as_it_is, nn.Module(), {}, torch.Generator)  # in a block whose target travels apart


@dataclass(frozen=True)
class Run:
    """One run of an attack over a block of originals: all that it depends on, so that any process may do it.

    originals : float (m, c, h, w). passes : averaged at each step. names : of its random numbers. restart : which run
    it is; the first goes for the best other class, see `Evasion.tried_again`. fixed : the defense draws the same
    numbers at every call. precision : of the gradients.
    """

    target: Target
    chosen: Chosen
    parameters: Mapping[str, Any]
    originals: Tensor
    labels: Tensor
    passes: int
    names: tuple[str | int, ...]
    restart: int = 0
    quiet: float = 0.0
    fixed: bool = False
    precision: Precision = "float32"


def attacked(run: Run) -> Tensor:
    """What the attack makes of the block, (m, c, h, w); an original where that is not finite."""
    # By scores alone an attack cannot see past the noise: it compares images under the same draws.
    gradients = run.chosen.attack.gradients
    precision: Precision = run.precision if gradients else "float32"
    model = run.target.model(run.passes, *run.names, fixed=run.fixed or not gradients, precision=precision)
    goal = Evasion(run.labels, quiet=run.quiet, randomized=run.target.randomized and not run.fixed)
    if run.restart:
        with torch.no_grad():
            goal = goal.tried_again(run.restart, partial(model, run.originals))
    # Of a fixed defense all restarts have one name: another would give it other random numbers.
    again = (run.restart,) if run.fixed and run.restart else ()
    starts = run.target.random(*run.names, *again, "start")
    found = run.chosen.attack(model, run.originals, goal, starts, **run.parameters)[0]
    finite = found.flatten(1).sum(1).isfinite()[:, None, None, None]
    return torch.where(finite, found, run.originals)


def attacked_fixed(run: Run, restarts: int) -> tuple[Tensor, Tensor]:
    """Images and their votes, int64 (m,), against the defense with the random numbers of `run` fixed.

    An image's masks and noise are those of its place in the block, so that no image leaves it.
    """
    model = run.target.model(run.passes, *run.names, fixed=True)

    def predicted(images: Tensor) -> Tensor:
        with torch.no_grad():
            return summarize_passes(model(images))["predicted"]

    found, votes = run.originals.clone(), predicted(run.originals)
    for restart in range(restarts):
        open_ = votes == run.labels
        if not open_.any():
            break
        tried = attacked(replace(run, restart=restart, fixed=True))
        again = predicted(tried)
        found[open_], votes[open_] = tried[open_], again[open_]
    return found, votes


@dataclass(frozen=True)
class Submission:
    """A block of images, float (m, c, h, w), that a defense is to vote on by so many passes."""

    target: Target
    passes: int
    names: tuple[str | int, ...]
    images: Tensor


def voted(submission: Submission) -> dict[str, Tensor]:
    """What all passes say, see `summarize_passes`."""
    model = submission.target.model(submission.passes, *submission.names)
    with torch.no_grad():  # no inference mode: what it makes may not be written into afterwards
        return summarize_passes(model(submission.images))


def each_block(what: str, pure: Callable[[Any], Any], blocks: Iterable["Run | Submission"]) -> Iterator[Any]:
    """Results in order of a function of blocks on one target, which travels once to each worker of the mapper."""
    given = list(blocks)
    target = given[0].target if given else NOBODY
    return in_order(what, partial(_on_target, pure, target), (replace(block, target=NOBODY) for block in given))


def _on_target(pure: Callable[[Any], Any], target: Target, block: "Run | Submission", advance: Advance) -> Any:
    """A task of the mapper."""
    return pure(replace(block, target=target))
