"""The Generative Adversarial Classifier and its controls, small, and trained for a moment."""

from dataclasses import replace
from typing import Any

import torch

from pipeline.training.gac import CONTROL, GAC, NOISE, Contestants, GacEpoch, Sample, Widths, fit_gac, new_contestants
from tests.seeds import seeded

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 20,
    "learning_rate": 5e-3,
    "generator_learning_rate": 5e-3,
    "lambda_": 0.1,
}
WIDTHS = {"vanilla": Widths("vanilla", (32,), (16,)), "dcgan": Widths("dcgan", (4, 8), (6,))}
VERSIONS = list(WIDTHS)


def toy(count: int = 120) -> Sample:
    """Three classes, a bright band each, with noise: uint8 (n, 1, 8, 8)."""
    labels = torch.arange(count) % 3
    images = torch.rand(count, 1, 8, 8, generator=seeded(3)) * 60
    for label in range(3):
        images[labels == label, :, 2 * label : 2 * label + 2] += 120
    return Sample(images.to(torch.uint8), labels, generated=True)


def new(version: str, sample: Sample, wanted: tuple[str, ...] = (GAC, CONTROL, NOISE), seed: int = 0) -> Contestants:
    return new_contestants(WIDTHS[version], sample.images, 3, (seed, version), wanted)


def train(
    version: str, sample: Sample, wanted: tuple[str, ...] = (GAC, CONTROL, NOISE), **training: Any
) -> tuple[Contestants, list[GacEpoch]]:
    contestants = new(version, sample, wanted)
    samples = {"train": sample, "adversarial_test": replace(sample, generated=False)}
    settings = {**SETTINGS, **training}
    epochs = fit_gac(contestants, sample.images, sample.labels, samples, 0, seeded(1), seeded(2), **settings)
    return contestants, list(epochs)
