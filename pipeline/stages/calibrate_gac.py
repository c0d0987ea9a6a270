"""Try several lambdas of the Generative Adversarial Classifier, beside the choice in params.yaml.

Reads:  the images file (train split), the minimal adversarial set: of the train split's images those that no training
        here sees judge each lambda.
Writes: one row per version and lambda; what each generator makes of an unseen image of each class.
Params: gac.<version>.<dataset>, seed.
"""

import argparse
from functools import partial

import numpy as np
import torch

from pipeline.artifacts.adversarial import open_adversarial
from pipeline.artifacts.contests import open_contest, read_rows, rows_of
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.generated import Generated, write_generated
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.errors import PipelineError
from pipeline.models.inference import unit_interval
from pipeline.params import check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import generator
from pipeline.stages.command import run
from pipeline.training.gac import CLASSES, gac_settings
from pipeline.training.gac_sweep import try_lambdas


def main(arguments: argparse.Namespace) -> None:
    dataset, params = arguments.dataset, arguments.params
    seed = check_value(read_block(params, "seed"), int, "seed")
    wanted = {}
    for version in CLASSES:
        where = f"gac.{version}.{dataset}"
        wanted[version] = gac_settings(version, read_block(params, where), where)

    if len({settings.share for settings in wanted.values()}) > 1:
        raise PipelineError(
            f"gac.*.{dataset}.share: expected the same for all versions: their images are shown together"
        )

    keep_freed_memory()
    device = choose_device()
    trials, names, fakes = [], [], []
    for version, settings in wanted.items():
        contest = open_contest(arguments.images, settings.share, seed, device)
        with open_adversarial(arguments.adversarial) as set_:
            rows = rows_of(set_, contest.seen, "unseen")
            adversarial, originals = read_rows(set_, rows, device), set_.sources.original_row[rows]
        unseen = contest.unseen
        first = torch.stack([(unseen.labels == label).nonzero()[0, 0] for label in range(contest.class_count)])
        total = len(settings.lambdas) * settings.trial_epochs * len(contest.training.labels)
        with bar(total, f"calibrate_gac {dataset} {version}", "image") as progress:
            for trial, made in try_lambdas(
                version,
                contest.training,
                unseen,
                adversarial,
                originals,
                unseen.images[first],
                contest.class_count,
                (seed, dataset, version, 0),
                settings,
                partial(generator, device, seed, dataset, version, 0),
                progress.update,
            ):
                trials.append(trial)
                if made is not None:
                    names.append(f"{version} {trial.lambda_:g}")
                    fakes.append(made)
                progress.set_postfix({f"gain at {trial.lambda_:g}": str(trial.gain)}, refresh=False)
    generated, before, after = zip(*fakes, strict=True) if fakes else ((), (), ())
    write_generated(
        arguments.examples,
        Generated(
            names=tuple(names),
            originals=unit_interval(unseen.images[first]).cpu().numpy(),
            labels=unseen.labels[first].cpu().numpy().astype(np.uint8),
            generated=np.array(generated, np.float32),
            predicted_before=np.array(before, np.uint8),
            predicted_after=np.array(after, np.uint8),
        ),
    )
    write_curves(arguments.trials, trials)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        adversarial="path of the minimal adversarial set (read)",
        trials="path of the table of lambdas (written)",
        examples="path of the generated images (written)",
    )
