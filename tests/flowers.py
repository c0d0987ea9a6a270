"""A project, and images of three classes beside it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import trial
from tests.raw import image_folder
from tests.studies import copy_study

RANDOM = np.random.default_rng(0)
DARKER = {"daisy": 1, "rose": 3, "tulip": 9}


def beside_flowers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the study `demo`, and a folder of images beside it."""
    project = folder / "project"
    copy_study("demo", project)
    monkeypatch.chdir(project)
    monkeypatch.delenv("DATASETS_DIR", raising=False)
    monkeypatch.setattr(trial, "SECONDS", 0.01)
    flowers = folder / "flowers"
    image_folder(flowers, {"rose": 40, "tulip": 30, "daisy": 50}, RANDOM, 40, 24)
    for path in flowers.rglob("*.png"):  # each class as bright as the other was before
        Image.fromarray(np.asarray(Image.open(path)) // DARKER[path.parent.name]).save(path)
    return project
