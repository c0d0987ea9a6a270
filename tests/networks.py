"""Small networks of random weights."""

import torch
from torch import Tensor, nn

from pipeline.models.cnn import Classifier


def untrained() -> tuple[nn.Module, Tensor, Tensor]:
    """One of four classes, three images, and what it takes them for."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)).eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return model, images, model(images).argmax(1)


def in_double() -> Classifier:
    """One of ten classes with dropout, in float64."""
    torch.manual_seed(3)
    return Classifier((1, 8, 8), 10, channels=(6, 12), dropout=0.2).double().eval()


def normalized() -> Classifier:
    """One of ten classes with dropout and a normalization."""
    torch.manual_seed(3)
    model = Classifier((1, 8, 8), 10, channels=(6, 12), dropout=0.2)
    model.set_normalization(torch.tensor([0.4]), torch.tensor([0.3]))
    return model.eval()


class Scaled(nn.Module):
    """A model to be written as a formula; its one weight is a factor of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class Counted(nn.Module):
    """A model that counts its calls."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.model(images)
        return logits
