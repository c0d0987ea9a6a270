"""Average what was measured per example into one small file of numbers.

Reads:  the images file's description, the statistics of every attack, the evaluations of every defense,
        the detection table, the tables of calibrations, of trials and of restoration errors; which attacks and
        defenses there are.
Writes: the metrics.
Params: seed, classifier.<dataset>, sources.<dataset>, trainings.<defense>.<dataset>: shown beside the results.
"""

import argparse

import pandas as pd

from pipeline.artifacts.code import read_listed
from pipeline.artifacts.contests import read_failed
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.evaluations import read_evaluations
from pipeline.artifacts.images import read_description
from pipeline.artifacts.metrics import write_metrics
from pipeline.artifacts.statistics import attacks_in, read_frame
from pipeline.devices import choose_device, describe_device
from pipeline.errors import PipelineError
from pipeline.metrics.adaptive import Check, summarize_adaptive
from pipeline.metrics.autoencoder_trials import AutoencoderTrial, summarize_autoencoder_trials
from pipeline.metrics.calibration import ExtraStepsTrial, StepSizeTrial, summarize_calibration
from pipeline.metrics.defense_trials import DefenseTrial, summarize_trials
from pipeline.metrics.gains import VERSIONS, Accuracy, GacTrial, summarize_gac
from pipeline.metrics.lambda_choice import choose_lambda
from pipeline.metrics.restorations import RestorationError, summarize_restorations
from pipeline.metrics.summary import (
    compare_evaluations,
    l2_ratio,
    rounded,
    summarize_attack,
    summarize_detection,
    summarize_evaluation,
)
from pipeline.metrics.transfer import summarize_sizes
from pipeline.params import read_block
from pipeline.stages.command import run

# What training buys, one pass each; what dropout buys.
COMPARED = (
    ("autoencoder_without_dropout", "gaussian_blur"),
    ("autoencoder_ensemble", "autoencoder_without_dropout"),
)
# What every attack's perturbations are measured against, on the same originals and targets.
YARDSTICKS = ("minimal", "ddn")
TRIED = ("autoencoder_ensemble", "autoencoder_ensemble_tuned")


def main(arguments: argparse.Namespace) -> None:
    dataset = arguments.dataset
    description = read_description(arguments.images)
    judged = read_listed(arguments.defenses)
    attacks, examples = {}, {}
    for name in attacks_in(arguments.perturbations, read_listed(arguments.other_attacks)):
        folder = arguments.perturbations / name
        examples[name], about = read_frame(folder / "examples.parquet", "examples")
        pairs, _ = read_frame(folder / "pairs.parquet", "pairs")
        profile, _ = read_frame(folder / "profile.parquet", "profile")
        attacks[name] = summarize_attack(name, examples[name], pairs, profile, about["params"])
    for name in attacks:
        attacks[name]["l2_ratio"] = {
            other: l2_ratio(examples[name], examples[other]) for other in YARDSTICKS if other in attacks
        }
    defenses, settings = {}, {}
    evaluations = read_evaluations(arguments.evaluations, judged)
    others = read_evaluations(arguments.other_evaluations, judged)
    for name, (evaluation, about) in evaluations.items():
        settings[name] = about["arguments"]
        both = pd.concat([evaluation, others[name][0]], ignore_index=True)
        defenses[name] = {"arguments": about["arguments"], **summarize_evaluation(both)}
    trials = choose_lambda(read_curves(arguments.gac_trials, GacTrial.__dataclass_fields__))
    gac = {}
    for version in VERSIONS:
        block = read_block(arguments.params, f"gac.{version}.{dataset}")
        gac[version] = {
            "settings": {key: block[key] for key in ("share", "generator", "classifier", "training")},
            "lambda": {"by_rule": trials.get(version), "used": block["training"]["lambda_"]},
            **summarize_gac(
                read_curves(arguments.gac / version / "accuracies.csv", Accuracy.__dataclass_fields__),
                read_frame(arguments.gac / version / "robustness.parquet", "gac_robustness")[0],
                read_failed(arguments.gac / version / "trainings"),
            ),
        }
        defenses[version]["lambda"] = gac[version]["lambda"]["used"]
        for over, key in (("over_control", "gain"), ("over_noise_control", "gain_over_noise")):
            gains = gac[version]["gain"]
            defenses[version][key] = {attack: gains[attack][over] for attack in gains}
    static, _ = read_frame(arguments.detection, "detection")
    adaptive = {}
    attacked = read_listed(arguments.attacked)
    if unknown := [name for name in ("undefended", *attacked) if name not in defenses or name not in attacked]:
        raise PipelineError(
            f"attacked in params.yaml: expected undefended, and only defenses that are judged: {unknown[0]}"
        )
    for name in attacked:
        attempts, about = read_frame(arguments.adaptive / name / "examples.parquet", "adaptive")
        check = read_curves(arguments.adaptive / name / "checks.csv", Check.__dataclass_fields__).iloc[0].to_dict()
        adaptive[name] = summarize_adaptive(attempts, about["settings"], check, static[static["defense"] == name])
    budgets = {name: {key: entry["settings"][key] for key in ("norm", "budget")} for name, entry in adaptive.items()}
    for name, found in budgets.items():
        if found != budgets["undefended"]:
            raise PipelineError(
                f"adaptive.{name}.{dataset}: expected undefended's {budgets['undefended']}, found {found}"
            )
    used = {
        "dropout_ensemble": settings["dropout_ensemble"]["rate"],
        "gaussian_noise_ensemble": settings["gaussian_noise_ensemble"]["sigma"],
    }
    trainings = {
        name: read_block(arguments.params, f"trainings.{name}.{dataset}") for name in read_listed(arguments.learned)
    }
    comparisons = {
        f"{one}_minus_{other}": compare_evaluations(evaluations[one][0], evaluations[other][0])
        for one, other in COMPARED
    }
    errors = read_curves(arguments.restorations, RestorationError.__dataclass_fields__)
    metrics = {
        "run": {
            "dataset": dataset,
            "device": describe_device(choose_device()),
            "source": description.source,
            "source_checksum": description.source_checksum,
        },
        "params": {
            key: read_block(arguments.params, key) for key in ("seed", f"classifier.{dataset}", f"sources.{dataset}")
        },
        "classifier": {"test_accuracy": defenses["undefended"]["test_accuracy"]},
        "attacks": attacks,
        "calibration": summarize_calibration(
            read_curves(arguments.step_sizes, StepSizeTrial.__dataclass_fields__),
            read_curves(arguments.extra_steps, ExtraStepsTrial.__dataclass_fields__),
            attacks["minimal"]["params"]["step_size"],
            attacks["extended"]["params"]["extra_steps"],
        ),
        "defenses": defenses,
        "defense_trials": summarize_trials(
            read_curves(arguments.defense_trials, DefenseTrial.__dataclass_fields__), used
        ),
        "gac": gac,
        "comparisons": comparisons,
        "trainings": trainings,
        "autoencoder_trials": summarize_autoencoder_trials(
            read_curves(arguments.autoencoder_trials, AutoencoderTrial.__dataclass_fields__),
            {name: trainings[name]["architecture"]["dropout"] for name in TRIED},
        ),
        "restorations": summarize_restorations(errors, settings["gaussian_blur"]["sigma"]),
        "sizes": summarize_sizes(
            *(
                read_frame(arguments.sizes / f"{name}.parquet", schema)[0]
                for name, schema in (("sizes", "sizes"), ("examples", "size_examples"), ("transfer", "transfer"))
            )
        ),
        "detection": summarize_detection(static),
        "robust": {"adversarial_training": read_block(arguments.params, f"robust.adversarial_training.{dataset}")},
        "adaptive": adaptive,
    }
    write_metrics(arguments.metrics, rounded(metrics))


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        images="path of the images file (read)",
        perturbations="path of the folder of statistics, a folder per attack (read)",
        step_sizes="path of the curve over step sizes (read)",
        extra_steps="path of the curve over extra steps (read)",
        defenses="path of the list of defenses (read)",
        learned="path of the list of trainings that they use (read)",
        other_attacks="path of the list of other attacks (read)",
        evaluations="path of the folder of evaluations, a file per defense (read)",
        other_evaluations="path of the folder of their evaluations on other attacks' images (read)",
        defense_trials="path of the trials of the defenses' strengths (read)",
        autoencoder_trials="path of the trials of autoencoders (read)",
        gac_trials="path of the trials of lambda (read)",
        gac="path of the folder of what was measured of the GACs (read)",
        restorations="path of the table of restoration errors (read)",
        sizes="path of the folder of classifiers of several sizes (read)",
        detection="path of the detection table (read)",
        attacked="path of the list of defenses that are attacked as a whole (read)",
        adaptive="path of the folder of attacks on whole defenses (read)",
        metrics="path of the metrics (written)",
    )
