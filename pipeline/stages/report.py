"""Render a study's report.

Reads:  the metrics, the headline numbers of an earlier commit, the learning curves, what was chosen and learned, the
        statistics and the sets of every attack, the evaluations of every defense and what was measured on them.
Writes: the figures, and one HTML page that holds them.
Params: none.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.evaluations import read_evaluation
from pipeline.artifacts.metrics import read_earlier, read_metrics
from pipeline.artifacts.pages import write_figures, write_page
from pipeline.artifacts.pictures import read_picture
from pipeline.artifacts.statistics import read_frame, read_mean_images
from pipeline.defenses.shared.pictures import Generated, Restorations
from pipeline.reporting.autoencoder import AutoencoderResults
from pipeline.reporting.autoencoder_figures import RestoredExamples
from pipeline.reporting.dropout import DropoutResults, main_family
from pipeline.reporting.gac import GacResults
from pipeline.reporting.page import render_page
from pipeline.reporting.report import Results, sections
from pipeline.reporting.section import draw_all
from pipeline.reporting.sizes import SizeResults
from pipeline.reporting.statistics import Statistics
from pipeline.reporting.style import MOST_CLASSES
from pipeline.stages.command import run
from pipeline.studies import Study

CURVES = ("epoch", "split", "loss", "accuracy")
WORKERS = 2  # processes that draw; the bytes are the same with any number


def main(study: Study) -> None:
    metrics = read_metrics(study.path("metrics"))
    left_out = metrics["left_out"]
    study = study.without(left_out["attacks"], left_out["defenses"])
    sets = {name: _statistics(study.path("statistics", name), study.path("set", name)) for name in study.attacks}
    success = {
        name: read_frame(study.path("statistics", name) / "success.parquet", "success")[0]
        for name in study.other_attacks
    }
    _, about = read_frame(study.path("statistics", study.attacks[0]) / "pairs.parquet", "pairs")
    detection = study.path("detection")
    results = Results(
        class_names=tuple(about["class_names"]),
        classifier_curves=read_curves(study.path("classifier_curves"), CURVES),
        earlier=read_earlier(study.path("earlier")),
        sets=sets,
        calibration=(
            read_curves(study.path("step_sizes"), ("step_size", "l2_mean")),
            read_curves(study.path("extra_steps"), ("extra_steps", "l2_mean", "ratio")),
        ),
        detection=read_frame(detection / "scores.parquet", "detection")[0],
        detection_curves=read_frame(detection / "curves.parquet", "roc")[0],
        success=success,
        dropout=_dropout(study),
        autoencoder=_autoencoder(study),
        gac=_gac(study),
        robust_curves={
            family: read_curves(study.path("curves", family), CURVES)
            for family in study.families
            if family in metrics["robust"]
        },
        sizes=None if "sizes" in left_out["parts"] else _sizes(study.path("sizes")),
    )
    drawn = draw_all([*sections(metrics, results).values()], WORKERS)
    pictures = {name: picture for section in drawn for name, picture in section.pictures.items()}
    write_figures(study.path("figures"), pictures)
    write_page(study.path("report"), render_page(f"Adversarial input space of {study.name}", drawn))


def _evaluations(study: Study, family: str) -> dict[str, pd.DataFrame]:
    return {name: read_evaluation(study.evaluation_path(family, name))[0] for name in study.families[family]}


def _dropout(study: Study) -> DropoutResults | None:
    """Of the family that was examined by a trace, if there is one."""
    traces = {family: study.path("examination", family) / "trace.csv" for family in study.families}
    family = main_family([family for family, trace in traces.items() if trace.is_file()])
    if family is None:
        return None
    return DropoutResults(
        family=family,
        evaluations=_evaluations(study, family),
        trials=read_curves(study.path("learning", family) / "trials.csv", ("defense", "strength")),
        trace=read_curves(traces[family], ("extra_steps", "passes", "thwarted", "recovered")),
    )


def _autoencoder(study: Study) -> AutoencoderResults | None:
    """Of the families that restore images, if there are any."""
    evaluations: dict[str, pd.DataFrame] = {}
    curves, trials = {}, []
    restored: dict[str, dict[str, Any]] = {}
    found: Restorations | None = None
    for family in study.families:
        picture = study.path("examination", family) / "restored.h5"
        if not picture.is_file():
            continue
        found = read_picture(picture, Restorations)
        restored |= {
            method: dict(zip(found.kinds, kinds, strict=True))
            for method, kinds in zip(found.methods, found.restored, strict=True)
        }
        evaluations |= _evaluations(study, family)
        curves[family] = read_curves(study.path("curves", family), (*CURVES, "reconstruction_error"))
        tried = study.path("learning", family) / "trials.csv"
        if tried.is_file():
            trials.append(read_curves(tried, ("defense", "varied", "dropout")))
    if found is None:
        return None
    evaluations |= _evaluations(study, "undefended")
    return AutoencoderResults(
        evaluations=evaluations,
        trials=pd.concat(trials, ignore_index=True) if trials else None,
        curves=curves,
        examples=RestoredExamples(
            inputs=dict(zip(found.kinds, found.inputs, strict=True)), restored=restored, labels=found.labels
        ),
    )


def _gac(study: Study) -> GacResults | None:
    """Of the families that were trained beside generators, if there are any."""
    examples, curves, tried, trials = {}, {}, {}, []
    for family in study.families:
        picture = study.path("examination", family) / "generated.h5"
        if not picture.is_file():
            continue
        learning = study.path("learning", family)
        examples[family] = read_picture(picture, Generated)
        curves[family] = read_curves(study.path("curves", family), (*CURVES, "model", "seed"))
        if (learning / "trials.csv").is_file():
            trials.append(read_curves(learning / "trials.csv", ("defense", "lambda_", "gain")))
        if (learning / "lambdas.h5").is_file():
            tried[family] = read_picture(learning / "lambdas.h5", Generated)
    if not examples:
        return None
    return GacResults(
        trials=pd.concat(trials, ignore_index=True) if trials else None,
        trial_examples=tried,
        curves=curves,
        examples=examples,
    )


def _sizes(folder: Path) -> SizeResults:
    return SizeResults(
        sizes=read_frame(folder / "sizes.parquet", "sizes")[0],
        examples=read_frame(folder / "examples.parquet", "size_examples")[0],
        transfer=read_frame(folder / "transfer.parquet", "transfer")[0],
    )


def _statistics(folder: Path, adversarial: Path) -> Statistics:
    means = read_mean_images(folder / "mean_images.h5", MOST_CLASSES)
    with open_adversarial(adversarial) as set_:
        sources = set_.sources
        # A fooled image of the test split for each class, towards a different class each.
        fooled = set_.is_adversarial & (sources.source_split[sources.original_row] == TEST)
        classes = len(set_.identity.class_names)
        found = []
        for label in range(classes):
            own = np.flatnonzero(fooled & (sources.labels == label))
            wanted = own[sources.target_labels[own] == (label + 1 + label % (classes - 1)) % classes]
            found.append((wanted if len(wanted) else own)[:1])  # where not every class is a target, any
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
    run(main, __doc__)
