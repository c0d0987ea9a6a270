"""How well the passes' disagreement tells adversarial images from others.

Reads:  the evaluations of all defenses.
Writes: a table of AUC and true positive rates; the ROC curves.
Params: evaluations (which defenses are judged).
"""

import argparse

import pandas as pd

from pipeline.artifacts.evaluations import read_evaluations
from pipeline.artifacts.statistics import write_frame
from pipeline.metrics.detection import detect
from pipeline.params import read_block
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    listed = read_block(arguments.params, "evaluations")
    tables, curves = [], []
    for name, (evaluation, _) in read_evaluations(arguments.evaluations, listed).items():
        table, curve = detect(evaluation)
        for frame in (table, curve):
            frame.insert(0, "defense", name)
        tables.append(table)
        curves.append(curve)
    about = {"dataset": arguments.dataset}
    write_frame(arguments.scores, pd.concat(tables, ignore_index=True), "detection", about)
    write_frame(arguments.curves, pd.concat(curves, ignore_index=True), "roc", about)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        evaluations="path of the folder of evaluations, a file per defense (read)",
        scores="path of the table of AUC and rates (written)",
        curves="path of the ROC curves (written)",
    )
