"""How an adversarial set comes to be: source images, blocks of rows that are kept, the file, its measured margins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.adversarial import (
    SOURCE_SPLITS,
    Identity,
    Sources,
    open_adversarial,
    write_adversarial,
)
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.shards import Arrays, ShardStore
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.mapper import Advance
from pipeline.metrics.outcomes import margins
from pipeline.metrics.sources import every_target, select_sources, some_targets, turns
from pipeline.models.inference import predict
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator


@dataclass(frozen=True)
class Start:
    """What is attacked: the sources; where `path` is a set, its images are carried on, and `params` are its own."""

    path: Path
    class_names: tuple[str, ...]
    sources: Sources
    carried_on: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)


def start_from_set(path: Path) -> Start:
    """The rows of an adversarial set."""
    with open_adversarial(path) as set_:
        return Start(path, set_.identity.class_names, set_.sources, True, set_.identity.params)


def start_from_images(
    path: Path,
    model: nn.Module,
    counts: Mapping[str, int],
    seed: int,
    source: str,
    where: str,
    targets: int | None = None,
) -> Start:
    """Source images of an images file, class-balanced and right, `counts` of each split, towards every other class.

    targets : towards so many of the other classes each; None: all.

    Drawn by seed and `source` alone. Raises PipelineError naming `where` if a class has too few.
    """
    device = next(model.parameters()).device
    class_names = read_description(path).class_names
    originals, labels, source_split, source_index, turn = [], [], [], [], []

    def classify(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        logits = predict(model, torch.from_numpy(images), batching(device, images.shape[1:]).predict)
        predicted: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
        return predicted

    for number, split in enumerate(SOURCE_SPLITS):
        count = counts.get(split, 0)
        images = read_split(path, split)
        order_seed = derive_seed(seed, source, "sources", split)
        random = np.random.default_rng(order_seed)
        chosen = select_sources(images.images, images.labels, classify, count, class_names, random, f"{where}.{split}")
        looked_at = np.random.default_rng(order_seed).permutation(len(images.labels))  # in this order, as it does
        turn.append(turns(images.labels[chosen], np.argsort(looked_at)[chosen]))
        originals.append(images.images[chosen])
        labels.append(images.labels[chosen])
        source_split.append(np.full(count, number, np.uint8))
        source_index.append(chosen.astype(np.int32))
    original_labels = np.concatenate(labels)
    if not len(original_labels):
        raise PipelineError(f"{where}: expected images of one split at least, found none")
    if targets is None:
        original_row, target_labels = every_target(original_labels, len(class_names))
    else:
        random = np.random.default_rng(derive_seed(seed, source, "targets"))
        original_row, target_labels = some_targets(
            original_labels, np.concatenate(turn), len(class_names), targets, random
        )
    sources = Sources(
        originals=np.concatenate(originals),
        source_split=np.concatenate(source_split),
        source_index=np.concatenate(source_index),
        original_row=original_row,
        labels=original_labels[original_row],
        target_labels=target_labels,
    )
    return Start(path, class_names, sources)


def make_set(
    out: Path,
    name: str,
    attack: Attack,
    parameters: Mapping[str, Any],
    start: Start,
    model: nn.Module,
    classifier: Path,
    identity: Identity,
    source: str,
) -> None:
    """Attack the start's rows block by block and write the set; blocks that an interrupted run finished are kept.

    attack, parameters : the method and its arguments. model : ready for inference, of the file `classifier`.
    source : of the images; with the seed, the set's name and the block it names the random numbers.
    """
    device = next(model.parameters()).device
    settings, sources = batching(device, start.sources.originals.shape[1:]), start.sources
    count, size = len(sources.labels), settings.block
    blocks = [slice(first, min(first + size, count)) for first in range(0, count, size)]
    about = {
        "attack": name,
        "params": dict(identity.params),
        "sources": sources.source_index.tolist(),
        "rows": sha256(sources.original_row.tobytes() + sources.target_labels.tobytes()).hexdigest(),
        "source": source,
        "seed": identity.seed,
    }
    shards = ShardStore([start.path, classifier], about)
    draws = partial(generator, device, identity.seed, source, name, "attack")
    task = partial(attack_block, attack, model, settings.attack, draws, dict(parameters))
    with bar(count, f"{name} {identity.dataset}", "image") as progress:
        success = {"finished": 0, "fooled": 0}

        def advance(finished: int, fooled: int | None = None) -> None:
            if fooled is not None:
                success["finished"] += finished
                success["fooled"] += fooled
                progress.set_postfix(success=f"{success['fooled'] / success['finished']:.4f}", refresh=False)
            progress.update(finished)

        def block(index: int) -> SetBlock:
            rows = blocks[index]
            targets = sources.target_labels[rows]
            if start.carried_on:
                with open_adversarial(start.path) as set_:
                    images, before = set_.images(rows), set_.steps[rows]
                return SetBlock(index, images, np.arange(len(images)), targets, before)
            return block_of(index, sources.originals, sources.original_row[rows], targets)

        resumed = shards.fill(len(blocks), task, block, f"{name} {identity.dataset}", advance)
        progress.update(count - progress.n)
    if resumed:
        print(f"{resumed} of {len(blocks)} blocks were there from an interrupted run")
    stored = shards.load(len(blocks))
    write_adversarial(
        out,
        identity,
        sources,
        ((rows, shard["images"], shard["steps"]) for rows, shard in zip(blocks, stored, strict=True)),
        margins_by(model),
    )
    shards.clear()


@dataclass(frozen=True)
class SetBlock:
    """Rows of a set to be made: images (m, c, h, w), which of them each row attacks, towards what, and steps before."""

    number: int
    images: NDArray[Any]
    image_rows: NDArray[np.integer[Any]]
    target_labels: NDArray[np.uint8]
    before: NDArray[np.int16] | int


def block_of(
    number: int, originals: NDArray[np.uint8], original_row: NDArray[np.int32], target_labels: NDArray[np.uint8]
) -> SetBlock:
    """Of rows in order, with no more of the originals than they need."""
    first, last = original_row[[0, -1]]
    return SetBlock(number, originals[first : last + 1], original_row - first, target_labels, 0)


def attack_block(
    attack: Attack,
    model: nn.Module,
    batch_size: int,
    draws: Callable[[int], torch.Generator],
    parameters: Mapping[str, Any],
    block: SetBlock,
    advance: Advance,
) -> Arrays:
    """A task of the mapper: the images of a block, and the steps of each. draws : by the block's number."""
    device = next(model.parameters()).device
    found, steps = run_attack(
        attack,
        model,
        torch.from_numpy(block.images).to(device),
        torch.from_numpy(block.image_rows).to(device, torch.int64),
        Goal(torch.from_numpy(block.target_labels).to(device, torch.int64)),
        batch_size,
        advance,
        draws(block.number),
        **parameters,
    )
    return {"images": found.cpu().numpy(), "steps": block.before + steps.cpu().numpy().astype(np.int16)}


def margins_by(model: nn.Module) -> Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.float32]]:
    """A function of images (n, c, h, w) and target labels (n,) that gives the model's margins, float32 (n,)."""
    device = next(model.parameters()).device

    def measure(images: NDArray[np.float32], target_labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = predict(model, torch.from_numpy(images), batching(device, images.shape[1:]).predict)
        targets = torch.from_numpy(target_labels).to(device, torch.int64)
        measured: NDArray[np.float32] = margins(logits, targets).cpu().numpy()
        return measured

    return measure
