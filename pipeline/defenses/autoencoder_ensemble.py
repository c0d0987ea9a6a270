"""Dropout-enabled autoencoder ensemble: passes through an autoencoder with dropout on, a vote each (Section 3.2)."""

from typing import Annotated

import torch
from torch import Tensor

from pipeline.models.autoencoder import RestoringClassifier
from pipeline.models.dropout import sampling
from pipeline.models.modes import evaluation_mode
from pipeline.models.passes import make_passes
from pipeline.ranges import Range


def autoencoder_ensemble(
    defended: RestoringClassifier,
    images: Tensor,
    generator: torch.Generator,
    *,
    passes: Annotated[int, Range(1, 10000)] = 20,
) -> Tensor:
    """Logits of `passes` passes, float (n, passes, k): the autoencoder with dropout on, then the classifier.

    Dropout has the rate it was trained with; the classifier's own stays off, and batch norm runs in evaluation mode,
    whatever mode the models are in; modes are restored afterwards. Masks are independent per image and pass. Each
    image is encoded once: dropout begins behind the encoder.

    images : float (n, c, h, w) in [0, 1].

    The paper gives neither passes nor rate; the rate was chosen on validation images (params.yaml).
    """
    autoencoder, classifier = defended.autoencoder, defended.classifier
    with evaluation_mode(defended):
        codes = autoencoder.encoder(images)
        with sampling(autoencoder, generator):
            return make_passes(lambda *both: classifier(autoencoder.restore(*both)), passes, images, codes)
