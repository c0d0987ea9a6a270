"""Measure trained Generative Adversarial Classifiers and their controls, and attack each of them.

Reads:  the images file, the adversarial sets, the models of all trainings of a version, their learning curves.
Writes: each model's accuracy on whole splits and sets; mean learning curves; what the minimal attack needs against
        each; generated images.
Params: gac.<version>.<dataset>.share, gac_robustness.<dataset>, attacks.minimal.<dataset>, seed.
"""

import argparse
from dataclasses import replace
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.contests import judged_samples, load_contestants, open_contest
from pipeline.artifacts.curves import read_curves, write_curves, write_table
from pipeline.artifacts.generated import Generated, write_generated
from pipeline.artifacts.images import read_split
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks import minimal
from pipeline.attacks.comparison import needed_against
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.gains import EACH_CLASS, GAC, MEAN, Accuracy, compare_accuracy, find_changes, mean_curves
from pipeline.models.inference import for_inference, unit_interval
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed
from pipeline.ranges import Range
from pipeline.stages.command import run
from pipeline.training.gac import Contestants, GacEpoch, deceive, generate
from pipeline.training.gac_sweep import predicted, right

# The kinds of Figure 10 of the paper, original to generated; where one does not occur, it is left out.
KINDS = ((4, 7), (5, 8), (9, 7), (4, 9), (1, 4), (0, 8), (5, 3))
SEARCHED = 10000  # test images that those are looked for among


def main(arguments: argparse.Namespace) -> None:
    dataset, version, params = arguments.dataset, arguments.defense, arguments.params
    where = f"gac.{version}.{dataset}.share"
    share = check_value(read_block(params, where), Annotated[float, Range(0, 0.9, low_open=True)], where)
    where = f"gac_robustness.{dataset}.originals"
    count = check_value(read_block(params, where), Annotated[int, Range(1, 10**6)], where)
    where = f"attacks.minimal.{dataset}"
    attack = arguments_for(minimal.minimal, read_block(params, where), where)
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    contest = open_contest(arguments.images, share, seed, device)
    trained = load_contestants(arguments.trainings)
    for contestants in trained.values():
        for model in (contestants.generator, *contestants.classifiers.values()):
            for_inference(model, device)

    accuracies: list[Accuracy] = []
    sets = {path.stem: path for path in arguments.sets}
    for kind, part, sample, originals in judged_samples(contest, arguments.images, sets, device):
        each = []
        for number, contestants in trained.items():
            each.append({name: right(model, sample) for name, model in contestants.classifiers.items()})
            rows = compare_accuracy(number, kind, part, each[-1], originals)
            if sample.generated:
                correct = torch.from_numpy(each[-1][GAC])
                l2, fooled = deceive(contestants.generator, contestants.classifiers[GAC], sample, correct)
                rows = [replace(row, perturbation_l2=l2, fooled=fooled) if row.model == GAC else row for row in rows]
            accuracies += rows
        together = {name: np.mean([correct[name] for correct in each], axis=0) for name in each[0]}
        accuracies += compare_accuracy(MEAN, kind, part, together, originals)

    test = read_split(arguments.images, "test")
    order = np.random.default_rng(derive_seed(seed, dataset, "gac", "robustness")).permutation(len(test.labels))
    images = torch.from_numpy(test.images[order]).to(device)
    labels = torch.from_numpy(test.labels[order]).to(device, torch.int64)
    frames = []
    with bar(len(trained) * 3, f"attack {dataset} {version}", "model") as progress:
        for number, contestants in trained.items():
            models, batch_size = contestants.classifiers, batching(device).attack
            for name, columns in needed_against(models, images, labels, count, batch_size, **attack):
                columns["original_row"] = order[columns["original_row"]].astype(np.int32)
                frames.append(pd.DataFrame({"seed": number, "model": name, **columns}))
                progress.update()

    write_curves(arguments.accuracies, accuracies)
    write_table(arguments.mean_curves, mean_curves(read_curves(arguments.curves, GacEpoch.__dataclass_fields__)))
    about = {"dataset": dataset, "defense": version, "attack": attack}
    write_frame(arguments.robustness, pd.concat(frames, ignore_index=True), "gac_robustness", about)
    write_generated(arguments.examples, _examples(version, next(iter(trained.values())), images, test.labels[order]))


def _examples(version: str, contestants: Contestants, images: Tensor, labels: NDArray[np.uint8]) -> Generated:
    """First the images that changed their class, by kind; then some of every class."""
    classifier = contestants.classifiers[GAC]
    searched = slice(0, SEARCHED)
    before = predicted(classifier, images[searched])
    after = predicted(classifier, generate(contestants.generator, images[searched]))
    rows = find_changes(labels[searched], before, after, KINDS, len(KINDS))
    rows += [row for label in np.unique(labels) for row in np.flatnonzero(labels == label)[:EACH_CLASS].tolist()]
    shown = images[rows]
    made = generate(contestants.generator, shown)
    return Generated(
        names=(version,),
        originals=unit_interval(shown).cpu().numpy(),
        labels=labels[rows],
        generated=made.cpu().numpy()[None],
        predicted_before=predicted(classifier, shown)[None].astype(np.uint8),
        predicted_after=predicted(classifier, made)[None].astype(np.uint8),
    )


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        defense="name of the version: gac_vanilla or gac_dcgan",
        images="path of the images file (read)",
        sets="paths of the adversarial sets (read)",
        trainings="path of the folder of all trainings' models (read)",
        curves="path of the learning curves (read)",
        mean_curves="path of their means over trainings, a column per model and split, for `dvc plots` (written)",
        accuracies="path of the table of accuracies (written)",
        robustness="path of the table of what the minimal attack needs (written)",
        examples="path of the generated images (written)",
    )
