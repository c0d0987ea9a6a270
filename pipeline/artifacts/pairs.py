"""Adversarial images of the train split beside their originals, for training a defense on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.adversarial import AdversarialSet, open_adversarial
from pipeline.errors import PipelineError
from pipeline.training.autoencoder import Pairs

MEMORY_LIMIT = 8 << 30  # bytes of images that are loaded at once; beyond, they are read batch by batch


@contextmanager
def open_pairs(
    paths: Sequence[Path],
    wanted: NDArray[np.bool_],
    device: torch.device,
    originals: int | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Iterator[Pairs]:
    """The fooled images of the sets at `paths` whose original is a `wanted` image of the train split.

    wanted : bool, a value for each image of the train split. An original of the test split is never taken.
    originals : if given, only so many of them, evenly spread over their order in the train split.
    memory_limit : up to this size in bytes the images lie on `device`; above it, each batch is read from the
        files. Either way a batch holds the same images.

    Rows stand in the order of the sets, and of the rows in each. Raises PipelineError if nothing is left.
    """
    with ExitStack() as stack:
        sets = [stack.enter_context(open_adversarial(path)) for path in paths]
        rows = [set_.fooled_rows("train", wanted) for set_ in sets]
        if originals is not None:
            known = np.unique(np.concatenate([_index(set_, found) for set_, found in zip(sets, rows, strict=True)]))
            kept = known[np.linspace(0, len(known) - 1, min(originals, len(known))).astype(np.int64)]
            rows = [found[np.isin(_index(set_, found), kept)] for set_, found in zip(sets, rows, strict=True)]
        if not sum(map(len, rows)):
            raise PipelineError(f"{paths[0]}: expected fooled images of the train split, found none")
        index = np.concatenate([_index(set_, found) for set_, found in zip(sets, rows, strict=True)])
        labels = np.concatenate([set_.sources.labels[found] for set_, found in zip(sets, rows, strict=True)])
        targets = np.concatenate([set_.sources.target_labels[found] for set_, found in zip(sets, rows, strict=True)])
        _, first, original_row = np.unique(index, return_index=True, return_inverse=True)
        number = np.concatenate([np.full(len(found), i) for i, found in enumerate(rows)])
        places = np.concatenate([set_.sources.original_row[found] for set_, found in zip(sets, rows, strict=True)])
        # One picture per original: the first row that has it says in which set, and where in it.
        pictures = np.stack([sets[number[row]].sources.originals[places[row]] for row in first])
        shape = pictures.shape[1:]
        read: Callable[[Tensor], Tensor]
        if len(index) * int(np.prod(shape)) * 4 <= memory_limit:
            read = _load(sets, rows, shape, device).__getitem__
        else:
            read = _Reader(sets, rows, device)
        yield Pairs(
            images=read,
            original_row=torch.from_numpy(original_row),
            target_labels=torch.from_numpy(targets).to(torch.int64),
            originals=torch.from_numpy(pictures).to(device),
            labels=torch.from_numpy(labels[first]).to(device, torch.int64),
        )


def _index(set_: AdversarialSet, rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """Row of the train split for each of these rows of the set."""
    return set_.sources.source_index[set_.sources.original_row[rows]]


def _load(
    sets: Sequence[AdversarialSet], rows: Sequence[NDArray[np.int64]], shape: tuple[int, ...], device: torch.device
) -> Tensor:
    images = torch.empty(sum(map(len, rows)), *shape, device=device)
    at = 0
    for set_, wanted in zip(sets, rows, strict=True):
        for part in set_.images_of(wanted):
            images[at : at + len(part)] = torch.from_numpy(part)
            at += len(part)
    return images


class _Reader:
    """Reads the rows of one batch from the files."""

    def __init__(self, sets: Sequence[AdversarialSet], rows: Sequence[NDArray[np.int64]], device: torch.device) -> None:
        self.sets, self.rows, self.device = sets, rows, device
        self.starts = np.cumsum([0, *map(len, rows)])

    def __call__(self, rows: Tensor) -> Tensor:
        wanted = rows.numpy()
        which = np.searchsorted(self.starts, wanted, side="right") - 1
        images: NDArray[np.float32] | None = None
        for number, set_ in enumerate(self.sets):
            places = np.flatnonzero(which == number)
            if not len(places):
                continue
            found = self.rows[number][wanted[places] - self.starts[number]]
            order = np.argsort(found)  # HDF5 reads sorted rows only
            read = set_.images(found[order])
            if images is None:
                images = np.empty((len(wanted), *read.shape[1:]), np.float32)
            images[places[order]] = read
        assert images is not None
        return torch.from_numpy(images).to(self.device)
