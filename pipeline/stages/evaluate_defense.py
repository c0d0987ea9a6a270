"""Judge defenses on the test split: clean images, adversarial sets, and random noise of their size.

Reads:  the images file, the attacked classifier, what each defense has learned, the adversarial sets. With
        --other-attacks the sets of the attacks listed there, and nothing but them is judged.
Writes: of each defense one row per (image, set); images of a set that fooled nobody are left out.
Params: defenses.<defense>.<dataset> (its `sets` not with --other-attacks), seed.
Cost:   the defense's passes over (test split + test-split part of the sets).
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.adversarial import TEST, choose_sets, open_adversarial
from pipeline.artifacts.code import read_listed
from pipeline.artifacts.defenses import check_learned, load_defended
from pipeline.artifacts.evaluations import write_evaluation
from pipeline.artifacts.images import read_description, read_split
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.evaluation import Labels, evaluate, judge
from pipeline.metrics.noise import add_noise_of_norm
from pipeline.metrics.sources import one_row_per_original
from pipeline.models.inference import for_inference, unit_interval
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator
from pipeline.registry import load_by_name
from pipeline.stages.command import run

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


def main(arguments: argparse.Namespace) -> None:
    together = len(arguments.defense), len(arguments.weights), len(arguments.out)
    if len(set(together)) > 1:
        raise PipelineError("--defense, --weights, --out: expected equally many, found {}, {} and {}".format(*together))
    for judged in zip(arguments.defense, arguments.weights, arguments.out, strict=True):
        _judge(arguments, *judged)


def _judge(arguments: argparse.Namespace, name: str, weights: Path, out: Path) -> None:
    dataset, params = arguments.dataset, arguments.params
    where = f"defenses.{name}.{dataset}"
    function = getattr(load_by_name("defenses", name), name)
    settings = arguments_for(function, read_block(params, f"{where}.arguments"), f"{where}.arguments")
    seed = check_value(read_block(params, "seed"), int, "seed")
    if arguments.other_attacks:
        names = read_listed(arguments.other_attacks)
        given = [path for folder in arguments.sets for path in sorted(folder.glob("*.h5"))]
        sets = choose_sets(given, names, "other_attacks")
    else:
        names = check_value(read_block(params, f"{where}.sets"), list[str], f"{where}.sets")
        sets = choose_sets(arguments.sets, names, f"{where}.sets")

    keep_freed_memory()
    device = choose_device()
    batch_size = batching(device).predict
    loaded, setting = load_defended(weights, arguments.classifier)
    check_learned(function, loaded, weights)
    defended = for_inference(loaded, device)
    frames = []
    with bar(0, f"{name} {dataset}", "image") as progress:
        for part in _parts(None if arguments.other_attacks else arguments.images, sets, seed, batch_size):
            progress.total = progress.n + len(part.row)
            words = dataset, name, part.attack
            frame = evaluate(
                partial(function, **settings),
                defended,
                part.images,
                batch_size,
                lambda batch, words=words: generator(device, seed, *words, batch),  # type: ignore[misc]
                part.first_batch,
                progress.update,
            )
            frame.insert(0, "attack", part.attack)
            frame.insert(1, "setting", "clean" if part.target_labels is None else setting)
            frame.insert(2, "row", part.row.astype(np.int32))
            frame.insert(3, "original_row", part.original_row.astype(np.int32))
            frames.append(judge(frame, part.labels, part.target_labels))
    if not frames:
        raise PipelineError(
            f"{arguments.sets[0]}: no image of {', '.join(names)} fools the classifier: nothing to judge"
        )
    about = {
        "dataset": dataset,
        "defense": name,
        "arguments": settings,
        "class_names": list(read_description(arguments.images).class_names),
    }
    write_evaluation(out, pd.concat(frames, ignore_index=True), about)


def _parts(images: Path | None, sets: Mapping[str, Path], seed: int, batch_size: int) -> Iterator[Part]:
    """The whole test split; the attacked originals of it; each set's images of it, and noise of their norms.

    Without images, the sets' images of the test split alone.
    """
    if images:
        test = read_split(images, "test")
        everything = np.arange(len(test.labels))
        yield Part("clean_all", torch.from_numpy(test.images), everything, everything, test.labels)
    for position, (attack, path) in enumerate(sets.items()):
        with open_adversarial(path) as set_:
            sources = set_.sources
            rows = np.flatnonzero(set_.is_adversarial & (sources.source_split[sources.original_row] == TEST))
            originals, first = np.unique(sources.original_row[rows], return_index=True)
            labels = sources.labels[rows[first]]
            pictures = torch.from_numpy(sources.originals[originals])
            if images and position == 0:
                yield Part("clean", pictures, originals, originals, labels)
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
            if not images:
                continue
            dataset = set_.identity.dataset
            random = np.random.default_rng(derive_seed(seed, dataset, attack, "noise norms"))
            chosen = one_row_per_original(sources.original_row[rows], random)
            noise = generator("cpu", seed, dataset, attack, "noise")
            noisy = add_noise_of_norm(unit_interval(pictures), torch.from_numpy(norms[chosen]), noise)
            yield Part(f"noise_{attack}", noisy, rows[chosen], originals, labels)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        defense="names of the defenses: files in pipeline/defenses",
        images="path of the images file (read)",
        classifier="path of the attacked classifier (read)",
        weights="paths of what each defense has learned, or of the classifier if nothing (read)",
        sets="paths of the adversarial sets (read); with --other-attacks, of their folder",
        other_attacks="optional path of the list of attacks whose sets are judged (read)",
        out="paths of the evaluations, one of each defense (written)",
    )
