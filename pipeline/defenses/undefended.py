"""Undefended

The classifier as it is: the zero line that every defense is compared with.
"""

import torch
from torch import Tensor, nn

from pipeline.defenses.protocol import Defense


def undefended(classifier: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
    """Logits of one pass, float (n, 1, k), for images (n, c, h, w) in [0, 1]."""
    return classifier(images)[:, None]  # type: ignore[no-any-return]


defense = Defense(predict=undefended)
