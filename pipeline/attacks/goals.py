"""What an attack wants: a target to be predicted, or anything but the label."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import log_softmax

from pipeline.metrics.outcomes import margins


@dataclass(frozen=True)
class Goal:
    """Targeted: `labels`, int64 (n,), are to be predicted. Untargeted: they are not to be."""

    labels: Tensor
    targeted: bool = True

    def at(self, rows: Tensor) -> "Goal":
        """The goal of some of the images, at an index or mask of shape (n,)."""
        return Goal(self.labels[rows], self.targeted)

    def score(self, logits: Tensor) -> Tensor:
        """What to raise, (n,): the log-probability of the target, or minus that of the label."""
        chosen = log_softmax(logits, 1).gather(1, self.labels[:, None])[:, 0]
        return chosen if self.targeted else -chosen

    def reached(self, logits: Tensor) -> Tensor:
        """bool (n,): the target is predicted, or the label is not; a tie is no success."""
        lead = margins(logits, self.labels)
        return lead > 0 if self.targeted else lead < 0
