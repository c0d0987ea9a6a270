"""How well the passes' disagreement tells adversarial images from others.

Reads:  the evaluations of all defenses; which they are.
Writes: a table of AUC and true positive rates; the ROC curves.
Params: none.
"""

import argparse

import pandas as pd

from pipeline.artifacts.code import read_listed
from pipeline.artifacts.evaluations import read_evaluations
from pipeline.artifacts.statistics import write_frame
from pipeline.metrics.detection import detect
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    defenses = read_listed(arguments.defenses)
    tables, curves = [], []
    for name, (evaluation, _) in read_evaluations(arguments.evaluations, defenses).items():
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
        defenses="path of the list of defenses (read)",
        evaluations="path of the folder of evaluations, a file per defense (read)",
        scores="path of the table of AUC and rates (written)",
        curves="path of the ROC curves (written)",
    )
