"""The images that defenses are judged on, part by part, and their verdicts as a table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.artifacts.adversarial import open_adversarial
from pipeline.artifacts.images import read_split
from pipeline.defenses.protocol import load_defense
from pipeline.mapper import Advance, in_order
from pipeline.metrics.evaluation import Labels, evaluate, judge
from pipeline.metrics.noise import add_noise_of_norm
from pipeline.metrics.sources import one_row_per_original
from pipeline.metrics.splits import TEST_SPLIT, VALIDATION, validation_mask
from pipeline.models.pixels import unit_interval
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator

BATCHES = 16  # of an adversarial set in memory at a time


@dataclass(frozen=True)
class Part:
    """Some rows of one set, in order; `first_batch` counts the set's batches before them.

    split : "test", or "validation", what rules choose on: the part of the train split that no training has seen.
    """

    attack: str
    images: Tensor
    row: NDArray[np.integer[Any]]
    original_row: NDArray[np.integer[Any]]
    labels: Labels
    target_labels: Labels | None = None
    first_batch: int = 0
    split: str = TEST_SPLIT


@dataclass(frozen=True)
class Judged:
    """A defense ready to judge: its function with its parameters, what it has learned, the setting, its name.

    models : what it predicts with, by number of the training; of a defense that is not trained several times, 0.
    """

    name: str
    predict: Callable[..., Tensor]
    models: Mapping[int, nn.Module]
    setting: str


@dataclass(frozen=True)
class Member:
    """A defense or a variant as its block says it: key, file, parameters with "auto" replaced, which model it takes.

    role : see `defenses.protocol.Defense.role`.
    """

    name: str
    method: str
    arguments: Mapping[str, Any]
    role: str | None

    def predict(self) -> Callable[..., Tensor]:
        """(learned, images, generator) -> logits of all passes."""
        return partial(load_defense(self.method).predict, **self.arguments)


def judge_parts(judged: Judged, parts: Iterator[Part], batch_size: int, seed: int, source: str) -> pd.DataFrame | None:
    """One row per training and image of the parts: the passes' votes and what came of them.

    By training, then part. None where no part has any image.
    """
    frames: dict[int, list[pd.DataFrame]] = {number: [] for number in judged.models}
    with bar(0, f"judge {judged.name}", "image") as progress:

        def counted() -> Iterator[tuple[int, Part]]:
            for part in parts:
                progress.total = (progress.total or 0) + len(part.row) * len(judged.models)
                for number in judged.models:
                    yield number, part

        task = partial(judge_part, judged, batch_size, seed, source)
        for number, frame in in_order(f"judge {judged.name}", task, counted(), progress.advance):
            frames[number].append(frame)
    every = [frame for of_training in frames.values() for frame in of_training]
    return pd.concat(every, ignore_index=True) if every else None


def judge_part(
    judged: Judged, batch_size: int, seed: int, source: str, block: tuple[int, Part], advance: Advance
) -> tuple[int, pd.DataFrame]:
    """A task of the mapper: the number of a training, and its rows of a part."""
    number, part = block
    model = judged.models[number]
    apart = ("training", number) if len(judged.models) > 1 else ()
    names = (judged.name, *apart, part.attack, *((part.split,) if part.split != TEST_SPLIT else ()))
    draws = partial(generator, next(model.parameters()).device, seed, source, *names)
    frame = evaluate(judged.predict, model, part.images, batch_size, draws, part.first_batch, advance)
    frame.insert(0, "attack", part.attack)
    frame.insert(1, "setting", "clean" if part.target_labels is None else judged.setting)
    frame.insert(2, "split", part.split)
    frame.insert(3, "training", np.int16(number))
    frame.insert(4, "row", part.row.astype(np.int32))
    frame.insert(5, "original_row", part.original_row.astype(np.int32))
    return number, judge(frame, part.labels, part.target_labels)


def split_part(part: Part, size: int) -> Iterator[Part]:
    """The same rows in parts of at most BATCHES batches of `size`, which have their images to themselves."""
    step = BATCHES * size
    for start in range(0, len(part.row), step):
        rows = slice(start, start + step)
        yield Part(
            part.attack,
            part.images[rows].clone(),
            part.row[rows],
            part.original_row[rows],
            part.labels[rows],
            None if part.target_labels is None else part.target_labels[rows],
            part.first_batch + start // size,
            part.split,
        )


def parts_to_judge(
    images: Path | None, sets: Mapping[str, Path], batch_size: int, seed: int, source: str
) -> Iterator[Part]:
    """The whole test split; the attacked originals of it; each set's images of it, and noise of their norms.

    Then the same of the validation images. Without `images`, the file, the sets' images of the test split alone. Images
    of a set that fooled nobody are left out.
    """
    if not images:
        yield from _of_sets(sets, batch_size, seed, source, None, TEST_SPLIT, clean=False)
        return
    for split in (TEST_SPLIT, VALIDATION):
        everything = read_split(images, TEST_SPLIT if split == TEST_SPLIT else "train")
        held_out = None
        rows = np.arange(len(everything.labels))
        if split == VALIDATION:
            held_out = validation_mask(everything.labels, seed, source)
            rows = np.flatnonzero(held_out)
        pictures = torch.from_numpy(everything.images[rows])
        whole = Part("clean_all", pictures, rows, rows, everything.labels[rows], split=split)
        yield from split_part(whole, batch_size)
        yield from _of_sets(sets, batch_size, seed, source, held_out, split, clean=True)


def _of_sets(
    sets: Mapping[str, Path],
    batch_size: int,
    seed: int,
    source: str,
    held_out: NDArray[np.bool_] | None,
    split: str,
    clean: bool,
) -> Iterator[Part]:
    """The sets' images whose originals are of a split; if `clean` also the originals, and noise of their norms.

    held_out : of the train split, which of its images are for validation.
    """
    apart = (split,) if split != TEST_SPLIT else ()
    for position, (attack, path) in enumerate(sets.items()):
        with open_adversarial(path) as set_:
            sources = set_.sources
            rows = set_.fooled_rows(TEST_SPLIT) if held_out is None else set_.fooled_rows("train", held_out)
            if split != TEST_SPLIT and not len(rows):  # a study that attacks no train-split image
                continue
            originals, first = np.unique(sources.original_row[rows], return_index=True)
            labels = sources.labels[rows[first]]
            pictures = torch.from_numpy(sources.originals[originals])
            if clean and position == 0:
                yield from split_part(Part("clean", pictures, originals, originals, labels, split=split), batch_size)
            norms = np.zeros(len(rows), np.float32)
            for start in range(0, len(rows), BATCHES * batch_size):
                part = slice(start, start + BATCHES * batch_size)
                found = set_.images(rows[part])
                norms[part] = np.sqrt(np.square(found - set_.originals(rows[part])).sum((1, 2, 3)))
                yield Part(
                    attack,
                    torch.from_numpy(found),
                    rows[part],
                    sources.original_row[rows[part]],
                    sources.labels[rows[part]],
                    sources.target_labels[rows[part]],
                    start // batch_size,
                    split,
                )
            if not clean or not len(rows):
                continue
            random = np.random.default_rng(derive_seed(seed, source, attack, "noise norms", *apart))
            chosen = one_row_per_original(sources.original_row[rows], random)
            noise = generator("cpu", seed, source, attack, "noise", *apart)
            noisy = add_noise_of_norm(unit_interval(pictures), torch.from_numpy(norms[chosen]), noise)
            added = Part(f"noise_{attack}", noisy, rows[chosen], originals, labels, split=split)
            yield from split_part(added, batch_size)
