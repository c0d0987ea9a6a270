"""Gaussian noise ensemble

Passes over the image plus Gaussian noise, a vote each: the simplest rival of the dropout ensemble.
"""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.defenses.protocol import Defense
from pipeline.models.passes import make_passes
from pipeline.ranges import Range


def gaussian_noise_ensemble(
    classifier: nn.Module,
    images: Tensor,
    generator: torch.Generator,
    *,
    passes: Annotated[int, Range(1, 10000)],
    sigma: Annotated[float, Range(0, 2)],
) -> Tensor:
    """Logits of `passes` passes over images + sigma * noise, clipped to [0, 1], float (n, passes, k).

    Not in the paper: Cohen, Rosenfeld, Kolter, Certified Adversarial Robustness via Randomized Smoothing
    (2019), without the certificate and with a classifier that was not trained on noise.

    sigma : in [0, 1] pixel values. As a variant of `dropout_ensemble`, that of equal clean accuracy.
    """

    def noisy(images: Tensor) -> Tensor:
        noise = torch.empty_like(images).normal_(generator=generator)
        logits: Tensor = classifier(torch.add(images, noise, alpha=sigma).clamp_(0, 1))
        return logits

    return make_passes(noisy, passes, images)


defense = Defense(predict=gaussian_noise_ensemble, randomized=True, role=None)
