"""Balls of perturbations around an image: how to draw from them, to step in them and to stay in them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Linf:
    """Perturbations of at most epsilon in every pixel."""

    def random(self, images: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        """A perturbation drawn uniformly from the ball, for each image (n, c, h, w)."""
        drawn = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        return (2 * drawn - 1) * epsilon

    def direction(self, gradients: Tensor) -> Tensor:
        """The steepest step of size 1."""
        return gradients.sign()

    def project(self, perturbations: Tensor, epsilon: float) -> Tensor:
        """The nearest perturbation of the ball."""
        return perturbations.clamp(-epsilon, epsilon)


@dataclass(frozen=True)
class L2:
    """Perturbations of Euclidean length at most epsilon, over all pixels and channels."""

    def random(self, images: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        """A perturbation drawn uniformly from the ball, for each image (n, c, h, w)."""
        normal = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        share = torch.rand(len(images), generator=generator, device=images.device, dtype=images.dtype)
        radius = share ** (1 / images[0].numel())  # volume grows with that power of the radius
        return self.direction(normal) * (epsilon * radius)[:, None, None, None]

    def direction(self, gradients: Tensor) -> Tensor:
        """The steepest step of size 1; none where the gradient is zero."""
        return gradients / lengths(gradients).clamp_min(1e-12)

    def project(self, perturbations: Tensor, epsilon: float) -> Tensor:
        """The nearest perturbation of the ball."""
        return perturbations * (epsilon / lengths(perturbations).clamp_min(1e-12)).clamp_max(1)


BALLS: dict[str, Linf | L2] = {"linf": Linf(), "l2": L2()}


def lengths(images: Tensor) -> Tensor:
    """L2 norm of each image, (n, 1, 1, 1)."""
    norms: Tensor = images.flatten(1).norm(dim=1)
    return norms[:, None, None, None]
