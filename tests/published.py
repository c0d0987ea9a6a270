"""Data sets that are known by name, as small files in their real formats."""

import bz2
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torchvision.datasets

COUNT = 26  # images of each split: one of each letter
TEN = [number % 10 for number in range(COUNT)]
RANDOM = np.random.default_rng(0)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def write_idx(folder: Path, prefix: str = "", first: int = 0) -> dict[str, bytes]:
    """Four idx files of ten or fewer classes, counted from `first`."""
    folder.mkdir(parents=True)
    found = {}
    for split, name in (("train", "train"), ("test", "test" if prefix else "t10k")):
        images = RANDOM.integers(0, 256, (COUNT, 28, 28), np.uint8)
        labels = (first + np.arange(COUNT) % (26 if first else 10)).astype(np.uint8)
        found[f"{split} images"] = np.array([2051, COUNT, 28, 28], ">i4").tobytes() + images.tobytes()
        found[f"{split} labels"] = np.array([2049, COUNT], ">i4").tobytes() + labels.tobytes()
        (folder / f"{prefix}{name}-images-idx3-ubyte").write_bytes(found[f"{split} images"])
        (folder / f"{prefix}{name}-labels-idx1-ubyte").write_bytes(found[f"{split} labels"])
    return found


def pickled(path: Path, **content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return md5(path.read_bytes())


def cifar10(folder: Path, patch: pytest.MonkeyPatch) -> None:
    kind, home = torchvision.datasets.CIFAR10, folder / "cifar-10-batches-py"
    sums = [
        (name, pickled(home / name, data=RANDOM.integers(0, 256, (COUNT, 3072), np.uint8), labels=TEN))
        for name in ("data_batch_1", "test_batch")
    ]
    patch.setattr(kind, "train_list", sums[:1])
    patch.setattr(kind, "test_list", sums[1:])
    names = pickled(home / "batches.meta", label_names=[f"class {n}" for n in range(10)])
    patch.setattr(kind, "meta", {**kind.meta, "md5": names})


def cifar100(folder: Path, patch: pytest.MonkeyPatch) -> None:
    kind, home = torchvision.datasets.CIFAR100, folder / "cifar-100-python"
    for name in ("train", "test"):
        data = RANDOM.integers(0, 256, (COUNT, 3072), np.uint8)
        found = pickled(home / name, data=data, fine_labels=[*range(COUNT)], coarse_labels=[0] * COUNT)
        patch.setattr(kind, f"{name}_list", [(name, found)])
    names = pickled(home / "meta", fine_label_names=[f"class {n}" for n in range(COUNT)])
    patch.setattr(kind, "meta", {**kind.meta, "md5": names})


def svhn(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Zero is labelled 10."""
    folder.mkdir(parents=True)
    sums = {}
    for split in ("train", "test"):
        file = folder / f"{split}_32x32.mat"
        pixels = RANDOM.integers(0, 256, (32, 32, 3, COUNT), np.uint8)
        scipy.io.savemat(file, {"X": pixels, "y": np.array([label or 10 for label in TEN])[:, None]})
        sums[split] = ["", file.name, md5(file.read_bytes())]
    patch.setattr(torchvision.datasets.SVHN, "split_list", sums)


def usps(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """LIBSVM's text, values from -1 to 1; labels from 1."""
    folder.mkdir(parents=True)
    sums = {}
    for split, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        values = RANDOM.uniform(-1, 1, (COUNT, 256))
        lines = (
            f"{label + 1} " + " ".join(f"{at + 1}:{value:.4f}" for at, value in enumerate(row))
            for label, row in zip(TEN, values, strict=True)
        )
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))
        sums[split] = ["", name, md5((folder / name).read_bytes())]
    patch.setattr(torchvision.datasets.USPS, "split_list", sums)


def in_mnists_layout(name: str, prefix: str = "", first: int = 0) -> Callable[[Path, pytest.MonkeyPatch], object]:
    return lambda folder, _: write_idx(folder / name / "raw", prefix, first)
