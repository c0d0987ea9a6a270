"""Rows of stored sets as another classifier sees them, and beside those of another set."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.adversarial import AdversarialSet, open_adversarial
from pipeline.devices import batching
from pipeline.models.inference import predict

Rows = NDArray[np.int64]
BLOCK = 512  # rows of two sets that are compared at once


def seen_by(model: nn.Module, path: Path, rows: Rows) -> NDArray[np.int64]:
    """The class that a model sees in each of these rows of a set, (n,). model : ready for inference."""
    device = next(model.parameters()).device
    found = [np.zeros(0, np.int64)]
    with open_adversarial(path) as set_:
        size = batching(device, set_.sources.originals.shape[1:]).predict
        for start in range(0, len(rows), size):
            images = torch.from_numpy(_images(set_, rows[start : start + size]))
            found.append(predict(model, images, size).argmax(1).cpu().numpy())
    return np.concatenate(found)


def cosines(one: Path, rows: Rows, other: Path, other_rows: Rows) -> NDArray[np.float64]:
    """Of the angle between the perturbations in rows of two sets, (n,); 0 where either is none."""
    found = np.zeros(len(rows))
    with open_adversarial(one) as first, open_adversarial(other) as second:
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            mine, its = _perturbations(first, rows[part]), _perturbations(second, other_rows[part])
            lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(its, axis=1)
            found[part] = (mine * its).sum(1) / np.where(lengths > 0, lengths, 1)
    return found


def _perturbations(set_: AdversarialSet, rows: Rows) -> NDArray[np.float64]:
    """(n, c * h * w)."""
    found: NDArray[np.float64] = np.subtract(_images(set_, rows), set_.originals(rows), dtype=np.float64)
    return found.reshape(len(rows), -1)


def _images(set_: AdversarialSet, rows: Rows) -> NDArray[np.float32]:
    """Those rows, read in one piece: HDF5 reads scattered ones one by one."""
    first = int(rows.min())
    return set_.images(slice(first, int(rows.max()) + 1))[rows - first]
