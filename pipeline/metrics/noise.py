"""Random noise as large as a perturbation: what the same distance does without an adversary."""

import torch
from torch import Tensor


def add_noise_of_norm(images: Tensor, norms: Tensor, generator: torch.Generator, rounds: int = 12) -> Tensor:
    """Images plus Gaussian noise, clipped to [0, 1], at L2 distance `norms` from the originals.

    Clipping shortens the noise (half of it falls on MNIST's black background), so its strength is
    raised `rounds` times until the distance after clipping is right: within 1 % unless an image has no room left.

    images : float (n, c, h, w) in [0, 1]. norms : float (n,). generator : on the same device.
    """
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    strength = norms / noise.flatten(1).norm(dim=1)
    noisy = images
    for _ in range(rounds):
        noisy = (images + noise * strength[:, None, None, None]).clamp_(0, 1)
        reached = (noisy - images).flatten(1).norm(dim=1)
        strength = strength * torch.where(reached > 0, norms / reached, 1)
    return noisy
