"""Dropout ensemble: passes with dropout on, a vote each (paper, Section 3.1)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.models.dropout import Dropout, sampling
from pipeline.models.modes import evaluation_mode
from pipeline.models.passes import make_passes
from pipeline.ranges import Range


def dropout_ensemble(
    classifier: nn.Module,
    images: Tensor,
    generator: torch.Generator,
    *,
    passes: Annotated[int, Range(1, 10000)],
    rate: Annotated[float, Range(0, 0.95)],
) -> Tensor:
    """Logits of `passes` passes with dropout at `rate` in every dropout layer, float (n, passes, k).

    Everything else runs in evaluation mode, whatever mode the classifier is in; modes are restored
    afterwards, also after an exception. Masks are independent per image and pass. The layers
    before the first dropout layer are computed once per image, not once per pass.

    classifier : a sequence of layers, at least one of them `Dropout`; ValueError if none is.
    images : float (n, c, h, w) in [0, 1].

    The paper gives neither passes nor rate; ours were chosen on validation images (params.yaml).
    """
    before, behind = split_at_first_dropout(classifier)
    with evaluation_mode(classifier):
        kept = before(images)
        with sampling(behind, generator, rate):
            return make_passes(behind, passes, kept)


def split_at_first_dropout(classifier: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """The classifier's layers before its first Dropout, and from it on; the layers themselves, no copies."""
    layers = list(classifier.children())
    first = next((i for i, layer in enumerate(layers) if isinstance(layer, Dropout)), None)
    if first is None:
        raise ValueError("the classifier has no dropout layer")
    return nn.Sequential(*layers[:first]), nn.Sequential(*layers[first:])
