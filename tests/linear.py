"""A model whose smallest adversarial perturbation has a closed form."""

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """Logits W x + b in float64: its smallest adversarial perturbation has a closed form."""

    def __init__(self, generator: torch.Generator, shape: tuple[int, int, int] = (1, 4, 4), classes: int = 4) -> None:
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        self.weight = nn.Parameter(torch.randn(classes, size, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(classes, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias
