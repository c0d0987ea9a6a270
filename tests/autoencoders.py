"""A small autoencoder, the classifier behind it, and pairs to train on."""

import torch

from pipeline.models.autoencoder import Autoencoder
from pipeline.models.cnn import Classifier
from pipeline.training.autoencoder import Pairs
from tests.seeds import seeded

SETTINGS = {
    "epochs": 3, "patience": 3, "batch_size": 16, "learning_rate": 5e-3, "clean_share": 0.0, "classifier_weight": 0.0,
    "flip": False,
}  # fmt: skip


def make_autoencoder(dropout: float = 0.3, residual: bool = False) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder((1, 8, 8), channels=(8, 16), dropout=dropout, residual=residual)


def make_classifier() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Classifier((1, 8, 8), 3, channels=(8,), dropout=0.5)
    return model.eval().requires_grad_(False)


def make_pairs(count: int = 40, seed: int = 3) -> Pairs:
    """Originals of smooth brightness, three noisy images of each."""
    random = seeded(seed)
    shades = torch.rand(count, 1, 1, 1, generator=random).expand(-1, 1, 8, 8)
    originals = (shades * 255).to(torch.uint8)
    rows = torch.arange(count).repeat_interleave(3)
    noise = torch.randn(len(rows), 1, 8, 8, generator=random) * 0.2
    images = (originals[rows] / 255 + noise).clamp(0, 1)
    labels = torch.zeros(count, dtype=torch.int64)
    return Pairs(images.__getitem__, rows, torch.ones(len(rows), dtype=torch.int64), originals, labels)
