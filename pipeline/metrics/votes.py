"""From the logits of several passes to one prediction, and to how much the passes disagree."""

import torch
from torch import Tensor


def summarize_passes(logits: Tensor) -> dict[str, Tensor]:
    """What the passes over each image say together.

    Parameters
    ----------
    logits : float (n, passes, k).

    Returns
    -------
    A dict of tensors with a row per image:
    votes : int64 (n, k), passes that predict each class.
    predicted : int64 (n,), the plurality of the votes (paper, Section 3.1). A tie goes to the tied class
        of the highest mean softmax score, and then to the lowest class number.
    vote_variance : 1 - sum of squared vote shares, in [0, 1 - 1/k].
    score_variance : mean over classes of the variance over passes of the softmax score.
    predictive_entropy : entropy of the mean softmax scores, in nats.
    mutual_information : predictive entropy minus the mean entropy of single passes, in nats.
    max_probability : the largest mean softmax score.
    logit_margin : largest minus second largest mean logit.
    """
    passes = logits.shape[1]
    scores = logits.softmax(2)
    mean_scores = scores.mean(1)
    choices = logits.argmax(2)
    votes = torch.zeros_like(logits[:, 0], dtype=torch.int64)
    votes.scatter_add_(1, choices, torch.ones_like(choices))
    tied = votes == votes.amax(1, keepdim=True)
    shares = votes.to(logits.dtype) / passes
    entropy = _entropy(mean_scores)
    top = logits.mean(1).topk(2, dim=1).values
    return {
        "votes": votes,
        "predicted": torch.where(tied, mean_scores, -1).argmax(1),
        "vote_variance": 1 - shares.square().sum(1),
        "score_variance": scores.var(1, correction=0).mean(1),
        "predictive_entropy": entropy,
        "mutual_information": (entropy - _entropy(scores).mean(1)).clamp_min(0),
        "max_probability": mean_scores.amax(1),
        "logit_margin": top[:, 0] - top[:, 1],
    }


def _entropy(scores: Tensor) -> Tensor:
    entropies: Tensor = torch.special.entr(scores).sum(-1)
    return entropies
