"""A tiny study with known content: three classes of 8x8 images, a bright band each, and what defenses learn from."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.adversarial import Identity, Sources, write_adversarial
from pipeline.artifacts.images import Description, Split, write_images
from pipeline.artifacts.materials import StudyMaterials
from pipeline.artifacts.weights import save_model
from pipeline.metrics.sources import every_target
from pipeline.randomness import generator, seeded_initialization
from pipeline.training.classifier import divide, fit_classifier, new_classifier

NAMES = ("a", "b", "c")
TRAINING = {"epochs": 4, "batch_size": 20, "learning_rate": 0.05, "weight_decay": 0.0, "shift": 0, "flip": False}


def bands(count: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.uint8)
    images = random.integers(0, 60, (count, 1, 8, 8))
    for label in range(3):
        images[labels == label, :, 2 * label : 2 * label + 2] += 120
    return Split(images.astype(np.uint8), labels)


class Study:
    """Files of 120 images to train on and 30 to test, a trained classifier, two sets; every fifth row is not fooled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.splits = {"train": bands(120, 1), "test": bands(30, 2)}
        self.images = folder / "images.h5"
        write_images(self.images, Description("toy", NAMES, "toy", "0"), self.splits)
        train = self.splits["train"]
        division = divide(train.images, train.labels, np.arange(120) >= 108, torch.device("cpu"))
        with seeded_initialization(0, "toy"):
            model = new_classifier(division.images, 3, (0, "toy"), channels=(6,), dropout=0.1)
        for _ in fit_classifier(model, *division, generator("cpu", 0, "toy"), **TRAINING):
            pass
        self.classifier = folder / "classifier.safetensors"
        save_model(self.classifier, model)
        self.sets = {attack: folder / f"{attack}.h5" for attack in ("minimal", "extended")}
        for number, (attack, path) in enumerate(self.sets.items()):
            self.write_set(path, attack, 0.25 * (number + 1))

    def write_set(self, path: Path, attack: str, size: float) -> None:
        """Originals with the target's band lit up by `size`."""
        originals = np.concatenate([split.images for split in self.splits.values()])
        labels = np.concatenate([split.labels for split in self.splits.values()])
        rows, targets = every_target(labels, 3)
        images = (originals[rows] / np.float32(255)).astype(np.float32)
        for row, target in enumerate(targets):
            images[row, :, 2 * target : 2 * target + 2] += size
        sources = Sources(
            originals=originals,
            source_split=np.repeat([0, 1], [120, 30]).astype(np.uint8),
            source_index=np.concatenate([np.arange(120), np.arange(30)]).astype(np.int32),
            original_row=rows,
            labels=labels[rows],
            target_labels=targets,
        )
        margins = np.where(np.arange(len(rows)) % 5 == 4, -1, 1).astype(np.float32)
        blocks = [(slice(0, len(rows)), images.clip(0, 1), np.ones(len(rows), np.int16))]
        identity = Identity("toy", attack, {"step_size": 0.05, "max_steps": 30}, NAMES, 0)

        def stored_margins(stored: NDArray[np.float32], targets: NDArray[np.uint8]) -> NDArray[np.float32]:
            return margins

        write_adversarial(path, identity, sources, blocks, stored_margins)

    def materials(self, key: str) -> StudyMaterials:
        return StudyMaterials(
            images=self.images, classifier=self.classifier, sets=self.sets, source="toy", key=key, seed=0
        )
