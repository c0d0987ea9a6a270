"""Make an adversarial set: every source image towards every other class.

Reads:  where the attack starts: an images file (source images are then selected from it) or another
        adversarial set (its images are carried on); the classifier.
Writes: the adversarial set.
Params: the attack's block (--block), how many sources (--sources), seed. An attack that starts from a set takes
        what its own block does not say from that set's parameters; `method` in a block names the attack's file where
        that is not called like the set.
Cost:   about one forward and backward pass per image and step. An interrupted run goes on where it was.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.adversarial import (
    BLOCK,
    SOURCE_SPLITS,
    Identity,
    Sources,
    open_adversarial,
    write_adversarial,
)
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.images import SCHEMA as IMAGES_SCHEMA
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.shards import Arrays, ShardStore
from pipeline.artifacts.storage import schema_of
from pipeline.attacks.shared.budgets import budget_of
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import load_attack
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.outcomes import margins
from pipeline.metrics.sources import every_target, select_sources
from pipeline.models.inference import for_inference, predict
from pipeline.params import arguments_for, check_value, parameters_of, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator
from pipeline.ranges import Range
from pipeline.registry import split_method
from pipeline.stages.command import run


@dataclass(frozen=True)
class Start:
    """What is attacked: the sources, and parameters that a starting set hands on."""

    dataset: str
    class_names: tuple[str, ...]
    sources: Sources
    inherited: dict[str, Any]


def main(arguments: argparse.Namespace) -> None:
    dataset, name, params = arguments.dataset, arguments.attack, arguments.params
    where = arguments.block or f"attacks.{name}.{dataset}"
    given = read_block(params, where)
    file, own = split_method(name, given, where)
    attack = load_attack(file)
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    settings = batching(device)
    model = for_inference(load_classifier(arguments.classifier), device)
    carried_on = schema_of(arguments.start) != IMAGES_SCHEMA
    start = _from_set(arguments.start) if carried_on else _from_images(arguments, model, seed)
    if start.dataset != dataset:
        raise PipelineError(f"{arguments.start}: expected images of {dataset}, found {start.dataset}")
    known = parameters_of(attack.run)
    block = {key: value for key, value in start.inherited.items() if key in known} | own
    parameters = arguments_for(attack.run, block, where)
    attack.check(True, *start.sources.originals.shape[2:])
    budget_of(attack, parameters, given.get("budgets"), where)  # better refused now than after the set is made
    described = {"method": given["method"], **parameters} if "method" in given else parameters
    sources = start.sources

    blocks = [slice(first, min(first + BLOCK, len(sources.labels))) for first in range(0, len(sources.labels), BLOCK)]
    shards = ShardStore(
        [arguments.start, arguments.classifier],
        {
            "attack": name,
            "params": described,
            "sources": sources.source_index.tolist(),
            "device": device.type,
        },
    )

    with bar(len(sources.labels), f"{name} {dataset}", "image") as progress:
        success = {"finished": 0, "fooled": 0}

        def advance(finished: int, fooled: int | None) -> None:
            if fooled is not None:
                success["finished"] += finished
                success["fooled"] += fooled
                progress.set_postfix(success=f"{success['fooled'] / success['finished']:.4f}", refresh=False)
            progress.update(finished)

        def attack_block(index: int) -> Arrays:
            rows = blocks[index]
            images: NDArray[Any]
            before: NDArray[np.int16] | int = 0
            if carried_on:
                with open_adversarial(arguments.start) as set_:
                    images, before = set_.images(rows), set_.steps[rows]
                image_rows = np.arange(len(images))
            else:
                first, last = sources.original_row[rows][[0, -1]]
                images = sources.originals[first : last + 1]
                image_rows = sources.original_row[rows] - first
            found, steps = run_attack(
                attack,
                model,
                torch.from_numpy(images).to(device),
                torch.from_numpy(image_rows).to(device, torch.int64),
                Goal(torch.from_numpy(sources.target_labels[rows]).to(device, torch.int64)),
                settings.attack,
                advance,
                generator(device, seed, dataset, name, "attack", index),
                **parameters,
            )
            return {"images": found.cpu().numpy(), "steps": before + steps.cpu().numpy().astype(np.int16)}

        resumed = shards.fill(len(blocks), attack_block)
        progress.update(len(sources.labels) - progress.n)
    if resumed:
        print(f"{resumed} of {len(blocks)} blocks were there from an interrupted run")

    def measure(images: NDArray[np.float32], target_labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = predict(model, torch.from_numpy(images), settings.predict)
        targets = torch.from_numpy(target_labels).to(device, torch.int64)
        measured: NDArray[np.float32] = margins(logits, targets).cpu().numpy()
        return measured

    stored = shards.load(len(blocks))
    write_adversarial(
        arguments.out,
        Identity(dataset, name, described, start.class_names, seed),
        sources,
        ((rows, shard["images"], shard["steps"]) for rows, shard in zip(blocks, stored, strict=True)),
        measure,
    )
    shards.clear()


def _from_set(path: Path) -> Start:
    with open_adversarial(path) as set_:
        return Start(set_.identity.dataset, set_.identity.class_names, set_.sources, set_.identity.params)


def _from_images(arguments: argparse.Namespace, model: nn.Module, seed: int) -> Start:
    dataset = arguments.dataset
    device = next(model.parameters()).device
    description = read_description(arguments.start)
    class_names = description.class_names
    originals, labels, source_split, source_index = [], [], [], []

    def classify(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        logits = predict(model, torch.from_numpy(images), batching(device).predict)
        predicted: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
        return predicted

    wanted = arguments.sources or f"sources.{dataset}"
    for number, split in enumerate(SOURCE_SPLITS):
        where = f"{wanted}.{split}"
        count = check_value(read_block(arguments.params, where), Annotated[int, Range(0, 10**7)], where)
        images = read_split(arguments.start, split)
        random = np.random.default_rng(derive_seed(seed, dataset, "sources", split))
        chosen = select_sources(images.images, images.labels, classify, count, class_names, random, where)
        originals.append(images.images[chosen])
        labels.append(images.labels[chosen])
        source_split.append(np.full(count, number, np.uint8))
        source_index.append(chosen.astype(np.int32))
    original_labels = np.concatenate(labels)
    if not len(original_labels):
        raise PipelineError(f"{wanted}: expected images of one split at least, found train: 0, test: 0")
    original_row, target_labels = every_target(original_labels, len(class_names))
    sources = Sources(
        originals=np.concatenate(originals),
        source_split=np.concatenate(source_split),
        source_index=np.concatenate(source_index),
        original_row=original_row,
        labels=original_labels[original_row],
        target_labels=target_labels,
    )
    return Start(description.dataset, class_names, sources, {})


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        attack="name of the set; of the attack's file too, unless its block says otherwise",
        block="optional key of the attack's params; default: attacks.<attack>.<dataset>",
        sources="optional key of how many images are attacked; default: sources.<dataset>",
        start="path of the images file or adversarial set to start from (read)",
        classifier="path of the attacked classifier (read)",
        out="path of the adversarial set (written)",
    )
