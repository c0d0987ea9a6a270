"""Render a dataset's report.

Reads:  the metrics, the learning and calibration curves, the statistics and the sets of every attack,
        the evaluations of every defense and what was measured on them.
Writes: the figures, and one HTML page that holds them.
Params: none.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.code import read_listed
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.evaluations import read_evaluations
from pipeline.artifacts.generated import read_generated
from pipeline.artifacts.metrics import read_metrics
from pipeline.artifacts.pages import write_figures, write_page
from pipeline.artifacts.restorations import read_restorations
from pipeline.artifacts.statistics import attacks_in, read_frame, read_mean_images
from pipeline.metrics.autoencoder_trials import AutoencoderTrial
from pipeline.metrics.calibration import ExtraStepsTrial, StepSizeTrial
from pipeline.metrics.defense_trials import DefenseTrial
from pipeline.metrics.gains import VERSIONS, GacTrial
from pipeline.reporting.autoencoder import AutoencoderResults
from pipeline.reporting.autoencoder_figures import RestoredExamples
from pipeline.reporting.dropout import DropoutResults
from pipeline.reporting.gac import GacResults
from pipeline.reporting.gac_figures import GeneratedImages
from pipeline.reporting.page import render_page
from pipeline.reporting.report import Results, sections
from pipeline.reporting.section import draw_all
from pipeline.reporting.sizes import SizeResults
from pipeline.reporting.statistics import Statistics
from pipeline.stages.command import run

GAC_CURVES = ("epoch", "split", "loss", "accuracy", "model", "seed", "perturbation_l2", "fooled")
AUTOENCODER_CURVES = ("epoch", "split", "loss", "accuracy", "reconstruction_error")


def main(arguments: argparse.Namespace) -> None:
    metrics = read_metrics(arguments.metrics)
    others = read_listed(arguments.other_attacks)
    names = attacks_in(arguments.perturbations, others)
    sets = {name: _statistics(arguments.perturbations / name, arguments.adversarial / f"{name}.h5") for name in names}
    success = {name: read_frame(arguments.perturbations / name / "success.parquet", "success")[0] for name in others}
    _, about = read_frame(arguments.perturbations / names[0] / "pairs.parquet", "pairs")
    class_names = tuple(about["class_names"])
    calibration = (
        read_curves(arguments.step_sizes, StepSizeTrial.__dataclass_fields__),
        read_curves(arguments.extra_steps, ExtraStepsTrial.__dataclass_fields__),
    )
    read = read_evaluations(arguments.evaluations, read_listed(arguments.defenses))
    evaluations = {name: frame for name, (frame, _) in read.items()}
    results = Results(
        class_names=class_names,
        classifier_curves=read_curves(arguments.curves, ("epoch", "split", "loss", "accuracy")),
        sets=sets,
        calibration=calibration,
        detection=read_frame(arguments.detection, "detection")[0],
        detection_curves=read_frame(arguments.detection_curves, "roc")[0],
        success=success,
        dropout=DropoutResults(
            evaluations=evaluations,
            trials=read_curves(arguments.defense_trials, DefenseTrial.__dataclass_fields__),
            trace=read_frame(arguments.trace, "trace")[0],
        ),
        autoencoder=_autoencoder(arguments, evaluations),
        gac=_gac(arguments),
        robust_curves={
            "adversarial_training": read_curves(arguments.robust_curves, ("epoch", "split", "loss", "accuracy"))
        },
        sizes=_sizes(arguments.sizes),
    )
    drawn = draw_all([*sections(metrics, results).values()], workers=min(2, os.cpu_count() or 1))
    write_figures(arguments.figures, {name: picture for section in drawn for name, picture in section.pictures.items()})
    write_page(arguments.report, render_page(f"Adversarial input space of {arguments.dataset}", drawn))


def _autoencoder(arguments: argparse.Namespace, evaluations: dict[str, pd.DataFrame]) -> AutoencoderResults:
    found = read_restorations(arguments.restored)
    return AutoencoderResults(
        evaluations=evaluations,
        trials=read_curves(arguments.autoencoder_trials, AutoencoderTrial.__dataclass_fields__),
        curves={path.stem: read_curves(path, AUTOENCODER_CURVES) for path in arguments.defense_curves},
        examples=RestoredExamples(
            inputs=dict(zip(found.kinds, found.inputs, strict=True)),
            restored={
                method: dict(zip(found.kinds, kinds, strict=True))
                for method, kinds in zip(found.methods, found.restored, strict=True)
            },
            labels=found.labels,
        ),
    )


def _gac(arguments: argparse.Namespace) -> GacResults:
    return GacResults(
        trials=read_curves(arguments.gac_trials, GacTrial.__dataclass_fields__),
        trial_examples=GeneratedImages(**vars(read_generated(arguments.gac_examples))),
        curves={path.stem: read_curves(path, GAC_CURVES) for path in arguments.gac_curves},
        examples={
            version: GeneratedImages(**vars(read_generated(arguments.gac / version / "examples.h5")))
            for version in VERSIONS
        },
    )


def _sizes(folder: Path) -> SizeResults:
    return SizeResults(
        sizes=read_frame(folder / "sizes.parquet", "sizes")[0],
        examples=read_frame(folder / "examples.parquet", "size_examples")[0],
        transfer=read_frame(folder / "transfer.parquet", "transfer")[0],
    )


def _statistics(folder: Path, adversarial: Path) -> Statistics:
    means = read_mean_images(folder / "mean_images.h5")
    with open_adversarial(adversarial) as set_:
        sources = set_.sources
        # A fooled image of the test split for each class, towards a different class each.
        fooled = set_.is_adversarial & (sources.source_split[sources.original_row] == TEST)
        classes = len(set_.identity.class_names)
        wanted = [(label, (label + 1 + label % (classes - 1)) % classes) for label in range(classes)]
        found = [np.flatnonzero(fooled & (sources.labels == a) & (sources.target_labels == b))[:1] for a, b in wanted]
        rows = np.sort(np.concatenate(found))  # HDF5 reads sorted rows only
        by_label = np.argsort(sources.labels[rows])
        samples = (
            set_.originals(rows)[by_label],
            set_.images(rows)[by_label],
            sources.labels[rows][by_label],
            sources.target_labels[rows][by_label],
        )
    return Statistics(
        examples=read_frame(folder / "examples.parquet", "examples")[0],
        pairs=read_frame(folder / "pairs.parquet", "pairs")[0],
        pixels=read_frame(folder / "pixels.parquet", "pixels")[0],
        profile=read_frame(folder / "profile.parquet", "profile")[0],
        mean_originals=means.originals,
        mean_adversarial=means.adversarial,
        mean_perturbations=means.perturbations,
        samples=samples,
    )


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        defenses="path of the list of defenses (read)",
        other_attacks="path of the list of other attacks (read)",
        metrics="path of the metrics (read)",
        curves="path of the classifier's learning curves (read)",
        perturbations="path of the folder of statistics, a folder per attack (read)",
        adversarial="path of the folder of adversarial sets (read)",
        step_sizes="path of the curve over step sizes (read)",
        extra_steps="path of the curve over extra steps (read)",
        evaluations="path of the folder of evaluations, a file per defense (read)",
        defense_trials="path of the trials of the defenses' strengths (read)",
        autoencoder_trials="path of the trials of autoencoders (read)",
        sizes="path of the folder of classifiers of several sizes (read)",
        restored="path of the restored examples (read)",
        defense_curves="paths of the autoencoders' learning curves (read)",
        robust_curves="path of the learning curves of adversarial training (read)",
        gac_trials="path of the trials of lambda (read)",
        gac_examples="path of the images generated in them (read)",
        gac_curves="paths of the GACs' learning curves (read)",
        gac="path of the folder of what was measured of the GACs (read)",
        trace="path of the dropout ensemble's curves (read)",
        detection="path of the detection table (read)",
        detection_curves="path of the ROC curves (read)",
        figures="path of the folder of figures (written)",
        report="path of the page (written)",
    )
