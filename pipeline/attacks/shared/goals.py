"""What an attack wants: a target to be predicted, or anything but the label."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from pipeline.metrics.outcomes import margins

SURE = 3.0  # lead in logits at which an evasion that is to be quiet has enough of it


@dataclass(frozen=True)
class Goal:
    """Targeted: `labels`, int64 (n,), are to be predicted. Untargeted: they are not to be.

    randomized : the model draws random numbers at every call, so that one success is not yet one.
    """

    labels: Tensor
    targeted: bool = True
    randomized: bool = False

    def at(self, rows: Tensor) -> "Goal":
        """The goal of some of the images, at an index or mask of shape (n,)."""
        return replace(self, labels=self.labels[rows])

    def tried_again(self, restart: int, predict: Callable[[], Tensor]) -> "Goal":
        """The goal of one more run from the same images, whose logits `predict` gives."""
        return self

    def prediction(self, logits: Tensor) -> Tensor:
        """The logits that decide, (n, k), of what the model gives."""
        return logits

    def score(self, logits: Tensor) -> Tensor:
        """What to raise, (n,): the log-probability of the target, or minus that of the label."""
        chosen = log_softmax(logits, 1).gather(1, self.labels[:, None])[:, 0]
        return chosen if self.targeted else -chosen

    def raised(self, logits: Tensor) -> Tensor:
        """What the paper's ascent raises, (n,): the target's logit; untargeted, the lead."""
        return logits.gather(1, self.labels[:, None])[:, 0] if self.targeted else self.lead(logits)

    def lead(self, logits: Tensor) -> Tensor:
        """How far the goal is reached, (n,): the target's logit over the largest other; or that over the label's."""
        margin = margins(logits, self.labels)
        return margin if self.targeted else -margin

    def reached(self, logits: Tensor) -> Tensor:
        """bool (n,): the target is predicted, or the label is not; a tie is no success."""
        return self.lead(logits) > 0


@dataclass(frozen=True)
class Evasion(Goal):
    """Untargeted, of logits of several passes, (n, passes, k): their mean is to predict anything but the label.

    The lead of the best other class is raised, not the cross-entropy: its gradient does not vanish where the
    classifier is sure (Carlini and Wagner, 2017).

    rival : int64 (n,) or None, the class whose lead is raised instead. A run tried again takes the original's second
        best other class, the next the third: multi-targeted (Gowal et al., 2019).
    quiet : weight of the disagreement of the passes, the variance of their softmax scores summed over classes, which is
        lowered at the same time, for detectors that look at it; a lead of more than SURE then counts for nothing.
    """

    targeted: bool = False
    rival: Tensor | None = None
    quiet: float = 0.0

    def at(self, rows: Tensor) -> "Evasion":
        rival = None if self.rival is None else self.rival[rows]
        return replace(self, labels=self.labels[rows], rival=rival)

    def tried_again(self, restart: int, predict: Callable[[], Tensor]) -> "Evasion":
        others = self.prediction(predict()).scatter(1, self.labels[:, None], -torch.inf)
        ranked = others.argsort(1, descending=True)[:, : others.shape[1] - 1]
        return replace(self, rival=ranked[:, restart % ranked.shape[1]])

    def prediction(self, logits: Tensor) -> Tensor:
        return logits.mean(1)

    def lead(self, logits: Tensor) -> Tensor:
        return super().lead(self.prediction(logits))

    def score(self, logits: Tensor) -> Tensor:
        if self.rival is None:
            lead = self.lead(logits)
        else:
            mean = self.prediction(logits)
            lead = (mean.gather(1, self.rival[:, None]) - mean.gather(1, self.labels[:, None]))[:, 0]
        if not self.quiet:
            return lead
        return lead.clamp_max(SURE) - self.quiet * logits.softmax(2).var(1, correction=0).sum(1)

    def raised(self, logits: Tensor) -> Tensor:
        return self.score(logits)
