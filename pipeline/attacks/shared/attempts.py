"""What attacks on a whole defense made of originals, and how the defense votes on it.

Where chance may have decided a vote, more draws do; none of them has been seen by a search.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings
from pipeline.attacks.shared.defended import Target
from pipeline.attacks.shared.runs import Submission, voted

SURELY = 3.0  # standard deviations of a vote's lead within which chance may have decided it
VOTED = 16  # images of a block at least, where only votes are wanted
WORTHWHILE = 64  # passes at once that a CPU is as fast with as with many, but for the smallest of networks
IN_DOUBT = 10  # times the scored draws that then decide

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Attempt:
    """What one attack made of some of the originals, and how the defense votes on it.

    attack : "none"; "pgd", the ascent; "pgd_doubled", "pgd_doubled_twice"; "quiet"; "shortest"; "transfer"; the name of
    another one; "fixed", made against the defense with its random numbers fixed and judged on that; "worst", the
    strongest image of all at the budget.
    rows : int64 (m,), which originals, ascending. images : float (m, c, h, w). predicted : int64 (m,), the vote of the
    scored draws, of more where chance may have decided it. broken : bool (m,), that it is not the label.
    label_share : float (m,), share of the passes that vote for the label.
    resubmitted : int64 (m,) of "worst", how many of the resubmissions to a randomized defense were wrong; else None.
    scores : of "none" and "quiet" what the defense's own passes say, as many as it makes when it is used; see
    `summarize_passes`.
    """

    attack: str
    epsilon: float | None
    rows: Tensor
    images: Tensor
    predicted: Tensor
    broken: Tensor
    label_share: Tensor
    resubmitted: Tensor | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)

    def updated(self, other: "Attempt") -> "Attempt":
        """This attempt with another's images where these are broken, or fewer passes vote for the label."""
        at = torch.searchsorted(self.rows, other.rows)
        mine = self.broken[at]
        better = (other.broken & ~mine) | ((other.broken == mine) & (other.label_share < self.label_share[at]))
        at = at[better]
        found = replace(self, **{name: getattr(self, name).clone() for name in _BY_ROW})
        for name in _BY_ROW:
            getattr(found, name)[at] = getattr(other, name)[better]
        return found

    def at(self, kept: Tensor) -> "Attempt":
        """The rows at a mask or index of shape (m,)."""
        return replace(self, rows=self.rows[kept], **{name: getattr(self, name)[kept] for name in _BY_ROW})


_BY_ROW = ("images", "predicted", "broken", "label_share")


@dataclass(frozen=True)
class Judge:
    """Votes of a defense on images made of some of the originals, whose labels these are.

    The others are those of `attack_defense`; least_blocks : its `blocks`.
    """

    target: Target
    labels: Tensor
    settings: AdaptiveSettings
    batch_size: int
    advance: Callable[[str, int], object]
    each: Each
    least_blocks: int

    def judged(self, attack: str, epsilon: float | None, rows: Tensor, found: Tensor, of: str = "") -> Attempt:
        """The vote on what was found; where chance may have decided it, IN_DOUBT times as many fresh draws do."""
        draws, labels, names = self.settings.scored_draws, self.labels[rows], (attack, str(epsilon), of)
        predicted, share, lead = counted(self.votes(draws, ("score", *names), found), labels)
        doubtful = (lead.abs() <= SURELY).nonzero()[:, 0]
        if self.target.randomized and len(doubtful):
            more = self.votes(IN_DOUBT * draws, ("doubt", *names), found[doubtful])
            predicted[doubtful], share[doubtful], _ = counted(more, labels[doubtful])
        scores = self.votes(self.target.passes, ("detect", *names), found) if attack in ("none", "quiet") else {}
        self.advance(attack if epsilon is None else f"{attack} {epsilon:g}", len(rows))
        return Attempt(attack, epsilon, rows, found, predicted, predicted != labels, share, scores=scores)

    def resubmitted(self, worst: Attempt) -> Attempt:
        """Each strongest image submitted so many times to the defense as deployed."""
        labels = self.labels[worst.rows]
        wrong, share = torch.zeros_like(labels), torch.zeros(len(labels), device=labels.device)
        for time in range(self.settings.resubmissions):
            votes = self.votes(self.target.passes, ("resubmitted", time), worst.images)
            wrong += votes["predicted"] != labels
            share += votes["votes"].gather(1, labels[:, None])[:, 0] / self.target.passes
        return replace(worst, resubmitted=wrong, label_share=share / self.settings.resubmissions)

    def votes(self, passes: int, names: tuple[str | int, ...], images: Tensor) -> dict[str, Tensor]:
        """What the defense's passes say of images (m, c, h, w), block by block."""
        # Of more passes than fill a batch at once, a block need not be one image.
        blocks = self.blocks(images, passes, least=VOTED)
        runs = [Submission(self.target, passes, (*names, block), part) for block, part in enumerate(blocks)]
        parts = list(self.each(voted, runs))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def blocks(self, rows: Tensor, passes: int, least: int = 1) -> Sequence[Tensor]:
        """Rows in blocks of a batch at most, all as large: none keeps the others waiting."""
        size = max(self.batch_size // passes, min(least, self.batch_size), 1)
        wanted = min(self.least_blocks, len(rows) * passes // WORTHWHILE, len(rows))
        return rows.tensor_split(max(math.ceil(len(rows) / size), wanted))


def counted(votes: Mapping[str, Tensor], labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The voted class, the label's share of the votes, and its lead over the best other class in standard deviations.

    A difference of two counts of n votes deviates by at most the root of n.
    """
    counts = votes["votes"]
    draws, own = counts.sum(1), counts.gather(1, labels[:, None])[:, 0]
    other = counts.scatter(1, labels[:, None], -1).amax(1)
    return votes["predicted"].clone(), own / draws, (own - other) / draws.sqrt()
