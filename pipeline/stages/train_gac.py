"""Train a version of the Generative Adversarial Classifier and its controls, several times from other random numbers.

Reads:  the images file, the minimal adversarial set. Of the test split images to watch: nothing is chosen by them.
Writes: a folder with the generator and the three classifiers of each training; those of the first that
        did not fail as the defenses; learning curves. An interrupted run keeps the trainings that were done.
Params: gac.<version>.<dataset> (not lambdas, trial_epochs), seed.
"""

import argparse

import numpy as np

from pipeline.artifacts.contests import (
    TrainingStatus,
    open_contest,
    pack_training,
    save_contestants,
    unpack_training,
    watched_samples,
)
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.shards import Arrays, ShardStore
from pipeline.artifacts.weights import save_model
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.metrics.gains import GAC
from pipeline.params import check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator
from pipeline.stages.command import run
from pipeline.training.gac import Contestants, GacEpoch, TrainingFailed, fit_gac, gac_settings, new_contestants

WATCHED = 2000  # images of each kind that the learning curves are measured on


def main(arguments: argparse.Namespace) -> None:
    dataset, version, params = arguments.dataset, arguments.defense, arguments.params
    where = f"gac.{version}.{dataset}"
    settings = gac_settings(version, read_block(params, where), where)
    seed = check_value(read_block(params, "seed"), int, "seed")

    keep_freed_memory()
    device = choose_device()
    contest = open_contest(arguments.images, settings.share, seed, device)
    random = np.random.default_rng(derive_seed(seed, dataset, "gac", "watched"))
    samples = watched_samples(contest, arguments.images, arguments.adversarial, WATCHED, random, device)
    training = contest.training

    def new(number: int) -> Contestants:
        names = seed, dataset, version, number
        return new_contestants(version, training.images, contest.class_count, names, settings)

    def train(number: int) -> Arrays:
        contestants, curves, status = new(number), [], "ok"
        order, noise = (generator(device, seed, dataset, version, number, what) for what in ("order", "noise"))
        try:
            for epoch in fit_gac(
                contestants, training.images, training.labels, samples, number, order, noise, progress.update,
                **settings.training,
            ):  # fmt: skip
                curves.append(epoch)
                progress.set_postfix({f"{number} {epoch.model} {epoch.split}": f"{epoch.accuracy:.4f}"}, refresh=False)
        except TrainingFailed as failure:
            status = str(failure)
        return pack_training(contestants, curves, status)

    about = {"version": version, "seed": seed, "settings": vars(settings)}
    shards = ShardStore([arguments.images, arguments.adversarial], about)
    total = settings.seeds * settings.training["epochs"] * len(training.labels)
    with bar(total, f"train_gac {dataset} {version}", "image") as progress:
        shards.fill(settings.seeds, train)
    curves: list[GacEpoch] = []
    statuses = []
    first: Contestants | None = None
    for number, arrays in enumerate(shards.load(settings.seeds)):
        contestants = new(number)
        epochs, status = unpack_training(arrays, contestants)
        statuses.append(TrainingStatus(number, status))
        if status == "ok":
            curves += epochs
            save_contestants(arguments.trainings / str(number), contestants)
            first = first or contestants
    if first is None:
        raise PipelineError(f"{where}: every training failed: {'; '.join(status.status for status in statuses)}")
    for path in arguments.weights:
        save_model(path, first.classifiers[path.stem.removeprefix(f"{version}_").removeprefix(version) or GAC])
    write_curves(arguments.trainings / "trainings.csv", statuses)
    write_curves(arguments.curves, curves)
    shards.clear()


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        defense="name of the version: gac_vanilla or gac_dcgan",
        images="path of the images file (read)",
        adversarial="path of the minimal adversarial set (read)",
        trainings="path of the folder of all trainings' models (written)",
        weights="paths of the classifier and its controls of the first training that did not fail (written)",
        curves="path of the learning curves (written)",
    )
