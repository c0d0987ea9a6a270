"""Thwarted and recovered against the number of passes, and against further steps of the attack.

Reads:  the minimal adversarial set (test-split part); the attacked classifier.
Writes: the two curves, one table.
Params: traces.<defense>.<dataset>; defenses.<defense>.<dataset>.arguments, but for the number of passes,
        which is the largest of the trace's own; seed.
"""

import argparse
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks.shared.ascent import ascend_steps
from pipeline.attacks.shared.goals import Goal
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.sources import one_row_per_original
from pipeline.metrics.traces import trace
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.params import arguments_for, check_value, read_block
from pipeline.randomness import derive_seed, generator
from pipeline.ranges import Range
from pipeline.registry import load_by_name
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    dataset, name, params = arguments.dataset, arguments.defense, arguments.params
    function = getattr(load_by_name("defenses", name), name)
    where = f"defenses.{name}.{dataset}.arguments"
    settings = arguments_for(function, read_block(params, where), where)
    where = f"traces.{name}.{dataset}"
    counts = tuple[Annotated[int, Range(1, 10000)], ...]
    passes = check_value(read_block(params, f"{where}.passes"), counts, f"{where}.passes")
    extra_steps = check_value(read_block(params, f"{where}.extra_steps"), counts, f"{where}.extra_steps")
    settings["passes"] = max(passes)
    count = check_value(read_block(params, f"{where}.originals"), Annotated[int, Range(1, 10**6)], f"{where}.originals")
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    batch_size = batching(device).predict
    classifier = for_inference(load_classifier(arguments.classifier), device)
    with open_adversarial(arguments.adversarial) as set_:
        test = set_.is_adversarial & (set_.sources.source_split[set_.sources.original_row] == TEST)
        rows = np.flatnonzero(test)
        random = np.random.default_rng(derive_seed(seed, dataset, name, "trace"))
        chosen = one_row_per_original(set_.sources.original_row[rows], random)
        rows = np.sort(random.permutation(rows[chosen])[:count])
        images = torch.from_numpy(set_.images(rows))
        labels, targets = (
            torch.from_numpy(values[rows]).to(device, torch.int64)
            for values in (set_.sources.labels, set_.sources.target_labels)
        )
        step_size = set_.identity.params["step_size"]

    def passes_over(images: Tensor, what: str) -> Tensor:
        random_numbers = generator(device, seed, dataset, name, "trace", what)
        with torch.inference_mode():
            return torch.cat(
                [function(classifier, part, random_numbers, **settings) for part in images.split(batch_size)]
            )

    def carry_on(images: Tensor, steps: int) -> Tensor:
        parts = zip(images.split(batch_size), targets.split(batch_size), strict=True)
        return torch.cat(
            [ascend_steps(classifier, part, Goal(to), step_size=step_size, steps=steps) for part, to in parts]
        )

    images = to_unit_interval(images, classifier)
    table = trace(passes_over, carry_on, images, labels, targets, passes, extra_steps)
    write_frame(arguments.out, table, "trace", {"dataset": dataset, "defense": name, "arguments": settings})


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        defense="name of the defense: a file in pipeline/defenses",
        adversarial="path of the minimal adversarial set (read)",
        classifier="path of the attacked classifier (read)",
        out="path of the curves (written)",
    )
