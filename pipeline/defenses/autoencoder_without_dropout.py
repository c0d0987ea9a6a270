"""Autoencoder without dropout

The ensemble's autoencoder, its dropout off, one pass: what does the dropout cost and buy? Not in the paper.
"""

import torch
from torch import Tensor

from pipeline.defenses.protocol import Defense
from pipeline.models.autoencoder import RestoringClassifier
from pipeline.models.modes import evaluation_mode


def autoencoder_without_dropout(defended: RestoringClassifier, images: Tensor, generator: torch.Generator) -> Tensor:
    """Logits of one pass, float (n, 1, k), for images (n, c, h, w) in [0, 1]; in evaluation mode, then as before."""
    with evaluation_mode(defended):
        logits: Tensor = defended(images)
    return logits[:, None]


defense = Defense(predict=autoencoder_without_dropout)
