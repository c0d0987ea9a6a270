"""The report's section on adversarial training, which the paper names and does not run."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline.reporting.adaptive import clean_of_sample
from pipeline.reporting.formats import NORMS, budget, rate
from pipeline.reporting.names import families, families_of, label, with_trainings
from pipeline.reporting.paper_numbers import reported
from pipeline.reporting.predicates import better
from pipeline.reporting.section import Section
from pipeline.reporting.style import COLORS, new_figure

METHOD = "adversarial_training"
SPLITS = (("train", "adversarial training images"), ("validation", "validation images, clean"))


def adversarial_training_section(metrics: Mapping[str, Any], curves: Mapping[str, pd.DataFrame]) -> Section:
    """How each family of it was trained, and what is left of it; `curves`: how it learned, by family."""
    names = [name for name in families_of(metrics, METHOD) if name in metrics["robust"]]
    literature = reported(metrics).literature
    ours = [
        [
            f"{with_trainings(metrics, name)}, ours, {budget(metrics['adaptive'][name]['settings'])}, worst of all attacks here, "
            f"{metrics['adaptive'][name]['originals']} originals",
            clean_of_sample(metrics["adaptive"][name]),
            rate(metrics["adaptive"][name]["every_attack"]),
        ]
        for name in names
        if name in metrics["adaptive"]
    ]
    return Section(
        "adversarial_training",
        {
            "trained": [_trained(metrics, name) for name in names],
            "rows": [[words, f"{clean:.2f} %", f"{robust:.2f} %"] for words, clean, robust in literature] + ours,
            "has_literature": bool(literature),
            "against": [found for found in (against(metrics, name) for name in names) if found],
            "curves": {name: label(metrics, name) for name in curves if name in names},
        },
        {f"{name}_curves": _curves(table) for name, table in curves.items() if name in names},
    )


def against(metrics: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The other families that were attacked, and those that this one stands above at the budget."""
    entries = metrics["adaptive"]
    same = families_of(metrics, METHOD)
    rivals = [other for other in families(metrics) if other in entries and other not in ("undefended", *same)]
    if name not in entries or not rivals:
        return None
    mine = entries[name]["every_attack"]
    beaten = [label(metrics, other) for other in rivals if better(mine, entries[other]["every_attack"])]
    return {"label": label(metrics, name), "count": len(rivals), "beaten": beaten}


def _trained(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    entry = metrics["robust"][name]
    norm = entry["adversary"]["norm"]
    price = [rate(metrics["defenses"][which]["test_accuracy"]) for which in (name, "undefended")]
    return {"label": label(metrics, name), "price": price, "norm": NORMS.get(norm, norm), **entry}


def _curves(curves: pd.DataFrame) -> Figure:
    figure, axes = new_figure(7.4, 2.6, 1, 2)
    for color, (split, words) in zip(COLORS, SPLITS, strict=False):
        rows = curves[curves["split"] == split]
        for plot, column in zip(axes[0], ("loss", "accuracy"), strict=True):
            plot.plot(rows["epoch"], rows[column], color=color, marker=".", label=words)
            plot.set_xlabel("epoch")
            plot.set_ylabel(column)
    axes[0, 1].legend(fontsize=7)
    return figure
