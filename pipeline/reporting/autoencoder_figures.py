"""The figures of the section on the dropout-enabled autoencoder ensemble (paper, Section 3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.reporting.images import image_grid
from pipeline.reporting.paper_numbers import Reported
from pipeline.reporting.style import COLORS, MOST_CLASSES, class_ticks, new_figure, shortened

VARIED = {
    "dropout": "dropout rate",
    "clean_share": "share of clean images",
    "classifier_weight": "weight of the classifier's term",
}


@dataclass(frozen=True)
class RestoredExamples:
    """Images (e, c, h, w) by kind of input, and restored ones by method and kind."""

    inputs: Mapping[str, NDArray[np.float32]]
    restored: Mapping[str, Mapping[str, NDArray[np.float32]]]
    labels: NDArray[np.uint8]


def class_accuracy(evaluation: pd.DataFrame) -> pd.Series:
    """The share of originals that a defense keeps right, by class."""
    clean = evaluation[evaluation["attack"] == "clean"]
    return clean.groupby(clean["label"].astype(int))["recovered"].mean()


def by_class(
    evaluations: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    class_names: tuple[str, ...],
    band: tuple[float, float] | None,
) -> Figure:
    """Originals right by class, a point per defense of `labels`; `band`: what the paper reports.

    The axis begins below the lowest point: near 100 %, from zero on, no class differs from another.
    """
    figure, axes = new_figure(7.4, 3.1)
    plot = axes[0, 0]
    apart = 0.8 / len(labels)
    for position, (color, name) in enumerate(zip(cycle(COLORS), labels, strict=False)):
        values = class_accuracy(evaluations[name]).reindex(range(len(class_names)))
        places = np.arange(len(class_names)) + (position - (len(labels) - 1) / 2) * apart
        plot.plot(places, values, "o", markersize=4, color=color, label=labels[name])
    if band:
        low, high = (f"{100 * share:.0f}" for share in band)
        words = f"the paper: {low} to {high} %"
        plot.axhspan(*band, color="#999999", alpha=0.35, linewidth=0, zorder=0, label=words)
    class_ticks(plot, class_names)
    for place in range(1, len(class_names)):
        plot.axvline(place - 0.5, color="#dddddd", linewidth=0.6, zorder=0)
    plot.set_xlabel("original label")
    plot.set_ylabel("originals right")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    return figure


def strips(examples: RestoredExamples, method: str, title: str, class_names: tuple[str, ...]) -> Figure:
    """Originals and adversarial images of each class (of the first MOST_CLASSES), and what a method restores."""
    first = slice(MOST_CLASSES)
    originals = examples.inputs["clean"][first]
    rows, names = [originals], ["original"]
    for kind, every in examples.inputs.items():
        images, restored = every[first], examples.restored[method][kind][first]
        if kind != "clean":
            rows += [images, images - originals]
            names += [kind, "perturbation"]
        rows += [restored, restored - originals]
        names += ["restored", "what is left"]
    return image_grid(rows, names, title, [shortened(class_names[label], 9) for label in examples.labels[first]])


def trade_off(
    trials: pd.DataFrame,
    defenses: Mapping[str, Any],
    attacks: Sequence[str],
    labels: Mapping[str, str],
    paper: Reported,
) -> Figure:
    """Outcomes against originals right, of every short training, and of the full ones (`defenses` of the metrics)."""
    most = trials["passes"].max()
    figure, axes = new_figure(max(4.2, 3.7 * len(attacks)), 6.2, 2, len(attacks))
    for column, attack in enumerate(attacks):
        for line, outcome in enumerate(("thwarted", "recovered")):
            plot = axes[line, column]
            for color, (name, family) in zip(COLORS, trials.groupby("defense", sort=False), strict=False):
                words = labels[str(name)]
                _family(plot, family, f"{attack}_{outcome}", color, most, words)
                entry = defenses[str(name)]
                plot.plot(
                    entry["clean_accuracy"]["value"], entry[attack][outcome]["value"], marker="*", markersize=12,
                    color=color, markeredgecolor="black", linestyle="none", label=f"{words}: full training, test split",
                )  # fmt: skip
            # On the paper's images only: elsewhere it is no comparison, and squeezes what is into a corner.
            if outcome == "thwarted" and attack in paper.autoencoder_thwarted and paper.autoencoder_clean:
                low, high = paper.autoencoder_clean
                plot.errorbar(
                    (low + high) / 2, paper.autoencoder_thwarted[attack], xerr=(high - low) / 2, color="#555555",
                    marker="s", capsize=3, linestyle="none", label="the paper",
                )  # fmt: skip
            plot.set_title(f"{attack}, {outcome}")
            plot.set_xlabel("originals right")
    columns = [f"{attack}_{outcome}" for attack in attacks for outcome in ("thwarted", "recovered")]
    lowest = 0 if paper.autoencoder_thwarted else float(trials[columns].min(axis=None)) - 0.03
    left, right = (pick(plot.get_xlim()[end] for plot in axes.flat) for end, pick in ((0, min), (1, max)))
    for plot in axes.flat:
        plot.set_xlim(left, right)
        plot.set_ylim(max(0, lowest), 1.02)
    for line in range(2):
        axes[line, 0].set_ylabel("share of images")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _family(plot: Axes, family: pd.DataFrame, column: str, color: str, most: int, name: str) -> None:
    full = family[family["passes"] == most]
    rates = full[full["varied"].isin(("base", "dropout"))].sort_values("dropout")
    least, most_dropout = (f"{rate:g}" for rate in rates["dropout"].iloc[[0, -1]])
    words = f"{name}: dropout rate, {least} (open) to {most_dropout}"
    plot.plot(rates["clean_accuracy"], rates[column], color=color, marker="o", markersize=4, label=words)
    plot.plot(
        rates["clean_accuracy"].iloc[0], rates[column].iloc[0], color=color, marker="o", markersize=4,
        markerfacecolor="white",
    )  # fmt: skip
    for varied, marker in (("clean_share", "^"), ("classifier_weight", "D")):
        others = full[full["varied"] == varied]
        if len(others):
            plot.plot(others["clean_accuracy"], others[column], color=color, marker=marker, markersize=5, linestyle="none", markerfacecolor="none", label=f"{name}: {VARIED[varied]}")  # fmt: skip
    passes = family[family["varied"] == "base"].sort_values("passes")
    if len(passes) > 1:
        plot.plot(
            passes["clean_accuracy"], passes[column], color=color, marker=".", markersize=4, linestyle=":", linewidth=1,
            label=f"{name}: base with fewer passes",
        )  # fmt: skip


def curves(curves: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Figure:
    """Loss and accuracy against epochs, a column per autoencoder."""
    figure, axes = new_figure(max(4.2, 3.7 * len(curves)), 4.6, 2, len(curves))
    styles = {"train": "-", "validation": "--", "validation_clean": ":"}
    words = {"train": "training", "validation": "validation, adversarial", "validation_clean": "validation, originals"}
    for column, (name, table) in enumerate(curves.items()):
        for line, quantity in enumerate(("loss", "accuracy")):
            plot = axes[line, column]
            for color, (split, style) in zip(COLORS, styles.items(), strict=False):
                rows = table[table["split"] == split]
                plot.plot(rows["epoch"], rows[quantity], color=color, linestyle=style, marker=".", label=words[split])
            plot.xaxis.set_major_locator(MaxNLocator(integer=True))
            plot.set_title(labels[name] if line == 0 else "")
        axes[0, column].set_yscale("log")
        axes[1, column].set_xlabel("epoch")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("accuracy")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure
