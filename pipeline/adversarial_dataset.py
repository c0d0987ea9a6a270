"""A stored adversarial set as PyTorch's data loaders take it.

from torch.utils.data import DataLoader
from pipeline.adversarial_dataset import AdversarialDataset

for batch in DataLoader(AdversarialDataset("data/adversarial/demo/minimal.h5"), batch_size=64):
    logits = model(batch.images)  # batch.originals, batch.labels, batch.target_labels
"""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.artifacts.adversarial import SOURCE_SPLITS, AdversarialSet, open_adversarial
from pipeline.errors import PipelineError
from pipeline.pixels import unit_interval


class Examples(NamedTuple):
    """One row of a set, or a batch of them: images and originals float32 (..., c, h, w) in [0, 1]; labels int64."""

    images: Tensor
    originals: Tensor
    labels: Tensor
    target_labels: Tensor


class AdversarialDataset(Dataset[Examples]):
    """The rows of a set that fooled the attacked classifier, in the file's order.

    split : "train" or "test": of originals of that split alone. fooled : False: all rows, those that fooled nobody too.
    Each process that reads opens the file for itself, so that a loader may have workers.

    Raises PipelineError if the file is missing or no adversarial set, or there is no such split.
    """

    def __init__(self, path: Path | str, split: str | None = None, *, fooled: bool = True) -> None:
        if split not in (None, *SOURCE_SPLITS):
            raise PipelineError(f"split: expected one of: {', '.join(SOURCE_SPLITS)}, or None, found {split!r}")
        self.path = Path(path)
        with open_adversarial(path) as set_:
            self.class_names = set_.identity.class_names
            self._sources = set_.sources
            wanted = set_.is_adversarial if fooled else np.ones(len(set_), bool)
            if split:
                wanted = wanted & (self._sources.source_split == SOURCE_SPLITS.index(split))[self._sources.original_row]
        self.rows = np.flatnonzero(wanted)
        self._opened: tuple[int, AdversarialSet, ExitStack] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Examples:
        row, sources = int(self.rows[index]), self._sources
        return Examples(
            images=torch.from_numpy(self._set().images(slice(row, row + 1))[0]),
            originals=torch.from_numpy(unit_interval(sources.originals[sources.original_row[row]])),
            labels=torch.tensor(int(sources.labels[row])),
            target_labels=torch.tensor(int(sources.target_labels[row])),
        )

    def _set(self) -> AdversarialSet:
        if self._opened is None or self._opened[0] != os.getpid():
            files = ExitStack()
            self._opened = os.getpid(), files.enter_context(open_adversarial(self.path)), files
        return self._opened[1]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}  # a worker that is spawned opens it anew
