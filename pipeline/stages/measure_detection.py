"""How well the passes' disagreement tells adversarial images from others.

Reads:  the evaluations of all defenses.
Writes: a table of AUC and true positive rates; the ROC curves.
Params: none.
"""

import argparse

import pandas as pd

from pipeline.artifacts.evaluations import read_evaluation
from pipeline.artifacts.statistics import write_frame
from pipeline.metrics.detection import detect
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    tables, curves = [], []
    for path in arguments.evaluations:
        evaluation, about = read_evaluation(path)
        table, curve = detect(evaluation)
        for frame in (table, curve):
            frame.insert(0, "defense", about["defense"])
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
        evaluations="paths of the evaluations (read)",
        scores="path of the table of AUC and rates (written)",
        curves="path of the ROC curves (written)",
    )
