"""Attack a whole defense, knowing all of it: white-box, untargeted, averaged over its randomness.

Reads:  the minimal set (its test originals), the attacked classifier, what the defense has learned.
Writes: one row per original and attack; checks of the defense as a function.
Params: adaptive.<defense>.<dataset>, defenses.<defense>.<dataset>.arguments, seed.
Cost:   originals x epsilons x steps x draws forward and backward passes at most; a broken original is not tried again.
"""

import argparse
from functools import partial

import numpy as np
import pandas as pd
import torch

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.defenses import check_learned, load_defended
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks.shared.adaptive import AdaptiveSettings, attack_defense, attacks_of
from pipeline.attacks.shared.defended import Target, check_gradients, multiply_adds
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.adaptive import Check
from pipeline.metrics.detection import MANY_PASSES, ONE_PASS
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.params import arguments_for, check_value, parameters_of, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator
from pipeline.registry import load_by_name
from pipeline.stages.command import run

CHECKED = 100  # originals that the gradients are looked at on


def main(arguments: argparse.Namespace) -> None:
    dataset, name, params = arguments.dataset, arguments.defense, arguments.params
    function = getattr(load_by_name("defenses", name), name)
    where = f"defenses.{name}.{dataset}.arguments"
    passes = arguments_for(function, read_block(params, where), where)
    where = f"adaptive.{name}.{dataset}"
    settings = AdaptiveSettings(**arguments_for(AdaptiveSettings, read_block(params, where), where))
    attacks_of(settings, where)  # better refused now than after hours
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    loaded, _ = load_defended(arguments.weights, arguments.classifier)
    check_learned(function, loaded, arguments.weights)
    learned = for_inference(loaded, device)
    classifier = for_inference(load_classifier(arguments.classifier), device)
    with open_adversarial(arguments.adversarial) as set_:
        sources = set_.sources
        test = np.flatnonzero(sources.source_split == TEST)
        # The same originals for every defense.
        chosen = np.random.default_rng(derive_seed(seed, dataset, "adaptive")).permutation(test)[: settings.originals]
        _, first = np.unique(sources.original_row, return_index=True)
        labels = torch.from_numpy(sources.labels[first][chosen]).to(device, torch.int64)
        images = torch.from_numpy(sources.originals[chosen]).to(device)
        source_index = sources.source_index[chosen]
    if not len(chosen):
        raise PipelineError(f"{arguments.adversarial}: expected originals of the test split, found none")

    batch_size = batching(device).attack
    target = Target(
        function,
        learned,
        passes,
        partial(generator, device, seed, dataset, name, "adaptive"),
        randomized="passes" in parameters_of(function),
        passes=passes.get("passes", 1),
    )
    originals = to_unit_interval(images, learned)
    same = arguments.weights.resolve() == arguments.classifier.resolve() and name == "undefended"
    frames = []
    with bar(0, f"attack {dataset} {name}", "image") as progress:

        def advance(what: str, count: int) -> None:
            progress.set_postfix(attack=what, refresh=False)
            progress.update(count)

        for attempt in attack_defense(
            target, None if same else classifier, images, labels, batch_size, settings, advance
        ):
            difference = (attempt.images - originals[attempt.rows]).flatten(1)
            rows = attempt.rows.cpu().numpy()
            frames.append(
                pd.DataFrame(
                    {
                        "attack": attempt.attack,
                        "epsilon": np.nan if attempt.epsilon is None else attempt.epsilon,
                        "original": rows.astype(np.int32),
                        "source_index": source_index[rows],
                        "label": labels[attempt.rows].cpu().numpy().astype(np.uint8),
                        "predicted": attempt.predicted.cpu().numpy().astype(np.uint8),
                        "broken": attempt.broken.cpu().numpy(),
                        "l2": difference.norm(dim=1).cpu().numpy(),
                        "linf": difference.abs().amax(1).cpu().numpy(),
                        **{
                            score: attempt.scores[score].cpu().numpy() if attempt.scores else np.nan
                            for score in {**ONE_PASS, **MANY_PASSES}
                        },
                    }
                )
            )
    checks = check_gradients(target, settings.draws, images[:CHECKED], labels[:CHECKED], batch_size)
    cost = multiply_adds(target.model(target.passes, "cost"), originals[:1]) / multiply_adds(classifier, originals[:1])
    about = {"dataset": dataset, "defense": name, "settings": settings.described()}
    write_frame(arguments.examples, pd.concat(frames, ignore_index=True), "adaptive", about)
    write_curves(arguments.checks, [Check(**checks, cost=cost)])


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        defense="name of the defense: a file in pipeline/defenses",
        adversarial="path of the minimal adversarial set (read)",
        classifier="path of the attacked classifier (read)",
        weights="path of what the defense has learned, or of the classifier if nothing (read)",
        examples="path of the table of attacks (written)",
        checks="path of the table of checks (written)",
    )
