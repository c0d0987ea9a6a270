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

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.images import read_split
from pipeline.mapper import Advance, in_order
from pipeline.metrics.evaluation import Labels, evaluate, judge
from pipeline.metrics.noise import add_noise_of_norm
from pipeline.metrics.sources import one_row_per_original
from pipeline.models.inference import unit_interval
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator

BATCHES = 16  # of an adversarial set in memory at a time


@dataclass(frozen=True)
class Part:
    """Some rows of one set, in order; `first_batch` counts the set's batches before them."""

    attack: str
    images: Tensor
    row: NDArray[np.integer[Any]]
    original_row: NDArray[np.integer[Any]]
    labels: Labels
    target_labels: Labels | None = None
    first_batch: int = 0


@dataclass(frozen=True)
class Judged:
    """A defense ready to judge: its function with its parameters, what it has learned, the setting, its name."""

    name: str
    predict: Callable[..., Tensor]
    model: nn.Module
    setting: str


def judge_parts(judged: Judged, parts: Iterator[Part], batch_size: int, seed: int, source: str) -> pd.DataFrame | None:
    """One row per image of the parts: the passes' votes and what came of them; None where no part has any image."""
    with bar(0, f"judge {judged.name}", "image") as progress:

        def counted() -> Iterator[Part]:
            for part in parts:
                progress.total = (progress.total or 0) + len(part.row)
                yield part

        task = partial(judge_part, judged, batch_size, seed, source)
        frames = list(in_order(f"judge {judged.name}", task, counted(), progress.advance))
    return pd.concat(frames, ignore_index=True) if frames else None


def judge_part(judged: Judged, batch_size: int, seed: int, source: str, part: Part, advance: Advance) -> pd.DataFrame:
    """A task of the mapper: the rows of a part."""
    device = next(judged.model.parameters()).device
    draws = partial(generator, device, seed, source, judged.name, part.attack)
    frame = evaluate(judged.predict, judged.model, part.images, batch_size, draws, part.first_batch, advance)
    frame.insert(0, "attack", part.attack)
    frame.insert(1, "setting", "clean" if part.target_labels is None else judged.setting)
    frame.insert(2, "row", part.row.astype(np.int32))
    frame.insert(3, "original_row", part.original_row.astype(np.int32))
    return judge(frame, part.labels, part.target_labels)


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
        )


def parts_to_judge(
    images: Path | None, sets: Mapping[str, Path], batch_size: int, seed: int, source: str
) -> Iterator[Part]:
    """The whole test split; the attacked originals of it; each set's images of it, and noise of their norms.

    Without images, the sets' images of the test split alone. Images of a set that fooled nobody are left out.
    """
    if images:
        test = read_split(images, "test")
        everything = np.arange(len(test.labels))
        whole = Part("clean_all", torch.from_numpy(test.images), everything, everything, test.labels)
        yield from split_part(whole, batch_size)
    for position, (attack, path) in enumerate(sets.items()):
        with open_adversarial(path) as set_:
            sources = set_.sources
            rows = np.flatnonzero(set_.is_adversarial & (sources.source_split[sources.original_row] == TEST))
            originals, first = np.unique(sources.original_row[rows], return_index=True)
            labels = sources.labels[rows[first]]
            pictures = torch.from_numpy(sources.originals[originals])
            if images and position == 0:
                yield from split_part(Part("clean", pictures, originals, originals, labels), batch_size)
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
                )
            if not images or not len(rows):
                continue
            random = np.random.default_rng(derive_seed(seed, source, attack, "noise norms"))
            chosen = one_row_per_original(sources.original_row[rows], random)
            noise = generator("cpu", seed, source, attack, "noise")
            noisy = add_noise_of_norm(unit_interval(pictures), torch.from_numpy(norms[chosen]), noise)
            yield from split_part(Part(f"noise_{attack}", noisy, rows[chosen], originals, labels), batch_size)
