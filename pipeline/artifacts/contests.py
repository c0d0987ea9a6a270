"""What a Generative Adversarial Classifier is trained, watched and judged on, and what comes out of a training."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.artifacts.adversarial import TEST, AdversarialSet, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.shards import Arrays
from pipeline.artifacts.weights import load_model, save_model
from pipeline.metrics.gains import CONTROLS, GAC
from pipeline.metrics.splits import training_mask
from pipeline.models.generators import DcganGenerator, VanillaGenerator
from pipeline.training.gac import Contestants, GacEpoch, Sample

PARTS = ("seen", "unseen", "test")


@dataclass(frozen=True)
class Contest:
    """The images file as a training sees it: of the train split those it learns from, and those it does not."""

    training: Sample
    unseen: Sample
    seen: NDArray[np.bool_]  # of the train split
    class_count: int


def open_contest(path: Path, share: float, seed: int, device: torch.device) -> Contest:
    """The train split of an images file, divided by `training_mask`."""
    description, split = read_description(path), read_split(path, "train")
    seen = training_mask(split.labels, seed, description.dataset, share)
    learned, unseen = (
        Sample(*_on(device, split.images[mask], split.labels[mask]), generated=True) for mask in (seen, ~seen)
    )
    return Contest(learned, unseen, seen, len(description.class_names))


def rows_of(set_: AdversarialSet, seen: NDArray[np.bool_], part: str) -> NDArray[np.int64]:
    """Rows of a set that fooled the attacked classifier, and whose originals are of this part."""
    sources = set_.sources
    test = sources.source_split == TEST
    index = np.where(test, 0, sources.source_index)
    wanted = {"seen": ~test & seen[index], "unseen": ~test & ~seen[index], "test": test}[part]
    return np.flatnonzero(set_.is_adversarial & wanted[sources.original_row])


def read_rows(set_: AdversarialSet, rows: NDArray[np.int64], device: torch.device) -> Sample:
    """Images of a set with the labels of their originals."""
    images = np.empty((len(rows), *set_.sources.originals.shape[1:]), np.float32)
    at = 0
    for block in set_.blocks():
        # A whole block and then a choice: HDF5 reads scattered rows one by one.
        chosen = rows[(rows >= block.start) & (rows < block.stop)] - block.start
        if len(chosen):
            images[at : at + len(chosen)] = set_.images(block)[chosen]
            at += len(chosen)
    return Sample(*_on(device, images, set_.sources.labels[rows]), generated=False)


def watched_samples(
    contest: Contest, images: Path, adversarial: Path, count: int, random: np.random.Generator, device: torch.device
) -> dict[str, Sample]:
    """At most `count` images each: of "train" those seen, of "test", and adversarial ones of both."""
    test = read_split(images, "test")
    chosen, learned = _some(len(contest.training.labels), count, random), contest.training
    samples = {"train": Sample(learned.images[chosen], learned.labels[chosen], generated=True)}
    rows = _some(len(test.labels), count, random).numpy()
    samples["test"] = Sample(*_on(device, test.images[rows], test.labels[rows]), generated=True)
    with open_adversarial(adversarial) as set_:
        for name, part in (("adversarial_train", "seen"), ("adversarial_test", "test")):
            found = rows_of(set_, contest.seen, part)
            samples[name] = read_rows(set_, found[_some(len(found), count, random).numpy()], device)
    return samples


def judged_samples(
    contest: Contest, images: Path, sets: dict[str, Path], device: torch.device
) -> Iterator[tuple[str, str, Sample, NDArray[np.integer[Any]]]]:
    """All there is: attack ("clean" first), part, images, and the original that each image comes from."""
    test = read_split(images, "test")
    clean = {
        "seen": contest.training,
        "unseen": contest.unseen,
        "test": Sample(*_on(device, test.images, test.labels), generated=True),
    }
    for part, sample in clean.items():
        yield "clean", part, sample, np.arange(len(sample.labels))
    for attack, path in sets.items():
        with open_adversarial(path) as set_:
            for part in PARTS:
                rows = rows_of(set_, contest.seen, part)
                if len(rows):
                    yield attack, part, read_rows(set_, rows, device), set_.sources.original_row[rows]


@dataclass(frozen=True)
class TrainingStatus:
    """Whether a training came to something: "ok", or why not."""

    seed: int
    status: str


def pack_training(contestants: Contestants, curves: Sequence[GacEpoch], status: str) -> Arrays:
    """A finished training as arrays, for a ShardStore."""
    arrays: Arrays = {"about": np.frombuffer(json.dumps([status, list(map(vars, curves))]).encode(), np.uint8)}
    for name, model in _models(contestants).items():
        arrays |= {f"{name}/{key}": value.cpu().numpy() for key, value in model.state_dict().items()}
    return arrays


def unpack_training(arrays: Arrays, contestants: Contestants) -> tuple[list[GacEpoch], str]:
    """Its curves and status back; `contestants`, of the same architectures, get its weights."""
    for name, model in _models(contestants).items():
        state = model.state_dict()
        model.load_state_dict(
            {key: torch.from_numpy(arrays[f"{name}/{key}"]).view_as(value) for key, value in state.items()}
        )
    status, curves = json.loads(arrays["about"].tobytes())
    return [GacEpoch(**epoch) for epoch in curves], status


def save_contestants(folder: Path, contestants: Contestants) -> None:
    """`generator.safetensors` and one file per classifier."""
    for name, model in _models(contestants).items():
        save_model(folder / f"{name}.safetensors", model)


def read_failed(folder: Path) -> pd.DataFrame:
    """The trainings in the folder that came to nothing: `seed, status`."""
    statuses = read_curves(folder / "trainings.csv", TrainingStatus.__dataclass_fields__)
    return statuses[statuses["status"] != "ok"]


def load_contestants(folder: Path) -> dict[int, Contestants]:
    """Of each training in the folder that did not fail, by number, the models in evaluation mode."""
    statuses = read_curves(folder / "trainings.csv", TrainingStatus.__dataclass_fields__)
    return {
        seed: Contestants(
            load_model(folder / f"{seed}/generator.safetensors", "a generator", VanillaGenerator, DcganGenerator),
            {name: load_classifier(folder / f"{seed}/{name}.safetensors") for name in (GAC, *CONTROLS)},
        )
        for seed in statuses.loc[statuses["status"] == "ok", "seed"].tolist()
    }


def _models(contestants: Contestants) -> dict[str, nn.Module]:
    return {"generator": contestants.generator, **contestants.classifiers}


def _some(total: int, count: int, random: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.sort(random.permutation(total)[:count]))


def _on(device: torch.device, images: NDArray[Any], labels: NDArray[Any]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device, torch.int64)
