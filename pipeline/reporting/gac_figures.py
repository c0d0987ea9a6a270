"""The figures of the section on the Generative Adversarial Classifier (paper, Section 3.3)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from pipeline.defenses.shared.pictures import Generated
from pipeline.metrics.gains import ALLOWED_LOSS, EACH_CLASS
from pipeline.reporting.images import image_grid
from pipeline.reporting.paper_numbers import GAC_GAIN
from pipeline.reporting.style import COLORS, LINES, MOST_CLASSES, label_ticks, new_figure, shortened

MODELS = {"gac": "GAC", "control": "control", "noise_control": "noise control"}
SPLITS = {"train": "training images", "test": "test images", "adversarial_test": "minimal images (test)"}


def structure() -> Figure:
    """The paper's Figure 9, drawn."""
    figure, axes = new_figure(7.4, 2.9)
    plot = axes[0, 0]
    plot.set_axis_off()
    plot.set_xlim(0, 10)
    plot.set_ylim(0, 3.7)
    blue, green = COLORS[0], COLORS[2]
    _box(plot, 0.2, 1.75, 1.5, "image x", "#eeeeee")
    _box(plot, 2.4, 0.55, 1.7, "generator G\nx + g(x)", "#d7e8f5")
    _box(plot, 4.9, 0.55, 1.5, "G(x)", "#eeeeee")
    _box(plot, 6.9, 1.75, 1.6, "classifier C", "#d9efe6")
    _box(plot, 8.9, 2.45, 1.0, "C(x)", "#eeeeee")
    _box(plot, 8.9, 1.05, 1.0, "C(G(x))", "#eeeeee")
    for start, end in (
        ((1.7, 1.95), (2.4, 1.05)),
        ((4.1, 0.9), (4.9, 0.9)),
        ((6.4, 1.0), (6.9, 1.8)),
        ((1.7, 2.3), (6.9, 2.3)),
        ((8.5, 2.25), (8.9, 2.65)),
        ((8.5, 1.95), (8.9, 1.5)),
    ):
        plot.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444", "linewidth": 1})
    plot.text(
        5,
        0.12,
        r"$G$ lowers  $-\,[\,L(C(G(x)),\,y)\;-\;\lambda\,\|G(x)-x\|_2^2\,]$",
        color=blue,
        ha="center",
        fontsize=10,
    )
    plot.text(5, 3.3, r"$C$ lowers  $L(C(x),\,y)\;+\;L(C(G(x)),\,y)$", color=green, ha="center", fontsize=10)
    plot.text(4.3, 2.4, "y, the label of x, is the label of both", fontsize=7, ha="center", color="#555555")
    return figure


def _box(plot: Axes, left: float, bottom: float, width: float, words: str, color: str) -> None:
    plot.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            0.7,
            boxstyle="round,pad=0.02,rounding_size=0.1",
            facecolor=color,
            edgecolor="#444444",
        )
    )
    plot.text(left + width / 2, bottom + 0.35, words, ha="center", va="center", fontsize=8)


def changed(examples: Generated, classes: int) -> int:
    """How many of the examples are there because their predicted class changes."""
    return len(examples.labels) - EACH_CLASS * classes


def morphs(examples: Generated, title: str, class_names: tuple[str, ...]) -> Figure:
    """Figure 10: images that changed their class, those of the paper's kinds first."""
    shown = slice(min(changed(examples, len(class_names)), MOST_CLASSES))
    arrow = "\u2192" if max(map(len, class_names)) == 1 else "\n\u2192"  # words need two lines
    pairs = zip(examples.predicted_before[0][shown], examples.predicted_after[0][shown], strict=True)
    originals, generated = examples.originals[shown], examples.generated[0][shown]
    return image_grid(
        [originals, generated, generated - originals],
        ["original", "generated", "difference"],
        title,
        [f"{shortened(class_names[a], 10)}{arrow}{shortened(class_names[b], 10)}" for a, b in pairs],
    )


def generated(examples: Generated, title: str, class_names: tuple[str, ...]) -> Figure:
    """Figure 13: of each class (of the first MOST_CLASSES) the first image, then the second."""
    rows, names = [], []
    for start in range(EACH_CLASS):
        pick = slice(changed(examples, len(class_names)) + start, None, EACH_CLASS)
        rows += [examples.originals[pick][:MOST_CLASSES], examples.generated[0][pick][:MOST_CLASSES]]
        names += ["original", "generated"]
    return image_grid(rows, names, title, [shortened(name, 9) for name in class_names[:MOST_CLASSES]])


def lambdas(examples: Generated, title: str, class_names: tuple[str, ...]) -> Figure:
    """Figure 11: what the generators of a version's trial trainings that did not fail make of images, by lambda."""
    found = {name.split()[1]: index for index, name in enumerate(examples.names)}
    found, shown = dict(sorted(found.items(), key=lambda item: float(item[0]))), slice(MOST_CLASSES)
    return image_grid(
        [examples.originals[shown], *(examples.generated[index][shown] for index in found.values())],
        ["original", *(f"\u03bb = {value}" for value in found)],
        title,
        [shortened(class_names[label], 9) for label in examples.labels[shown]],
    )


def accuracies(curves: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Figure:
    """Figure 12: accuracy after each epoch, a row per version."""
    figure, axes = new_figure(7.4, 0.4 + 2.2 * len(curves), len(curves), len(SPLITS))
    for line, (version, table) in enumerate(curves.items()):
        for plot, (split, words) in zip(axes[line], SPLITS.items(), strict=True):
            for color, (model, label) in zip(COLORS, MODELS.items(), strict=False):
                rows = table[(table["split"] == split) & (table["model"] == model)]
                by_epoch = rows.groupby("epoch")["accuracy"]
                plot.plot(by_epoch.mean().index, by_epoch.mean(), color=color, label=label)
                plot.fill_between(
                    by_epoch.min().index, by_epoch.min(), by_epoch.max(), color=color, alpha=0.15, linewidth=0
                )
            plot.set_title(words if line == 0 else "")
            plot.set_xlabel("epoch")
            plot.xaxis.get_major_locator().set_params(integer=True)
        axes[line, 0].set_ylabel(f"{labels[version]}\naccuracy", fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def generators(curves: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Figure:
    """What each version's generator does to test images during the training."""
    figure, axes = new_figure(7.4, 2.8, 1, 2)
    for (color, _), (version, table) in zip(LINES, curves.items(), strict=False):
        rows = table[(table["split"] == "test") & (table["model"] == "gac")].groupby("epoch")
        for plot, column in zip(axes[0], ("perturbation_l2", "fooled"), strict=True):
            plot.plot(rows[column].mean().index, rows[column].mean(), color=color, label=labels[version])
            plot.set_xlabel("epoch")
    for plot in axes[0]:
        plot.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("mean L2 of G(x) - x")
    axes[0, 1].set_ylabel("share of right images fooled")
    axes[0, 1].legend(fontsize=7)
    return figure


def gains(everywhere: Mapping[str, Mapping[str, Mapping[str, Any]]], labels: Mapping[str, str]) -> Figure:
    """What each version gains over each control, a row per kind of image; a hollow dot is of one training."""
    kinds = list(dict.fromkeys(kind for by in everywhere.values() for found in by.values() for kind in found))
    figure, axes = new_figure(7.4, 1.1 + 0.3 * len(kinds), 1, len(everywhere))
    for plot, (version, by_control) in zip(axes[0], everywhere.items(), strict=True):
        plot.axvline(0, color="#999999", linewidth=0.8)
        plot.axvspan(
            100 * GAC_GAIN[0], 100 * GAC_GAIN[1], color="#999999", alpha=0.3, linewidth=0, label="the paper, minimal"
        )
        for index, (control, found) in enumerate(by_control.items()):
            color = COLORS[(0, 4)[index % 2]]
            for kind, gain in found.items():
                errors = [[100 * (gain["value"] - gain["low"])], [100 * (gain["high"] - gain["value"])]]
                plot.errorbar(
                    100 * gain["value"], kinds.index(kind) + 0.3 * index - 0.15, xerr=errors, color=color, marker="o",
                    markersize=4, capsize=2, linewidth=1, markerfacecolor=color if gain.get("trainings", 1) > 1 else "white",
                )  # fmt: skip
            plot.plot([], [], color=color, marker="o", markersize=4, label=f"over the {control}")
        plot.set_ylim(len(kinds) - 0.4, -0.6)
        plot.set_yticks(range(len(kinds)), kinds if plot is axes[0, 0] else [""] * len(kinds), fontsize=8)
        plot.set_title(labels[version], fontsize=8)
        plot.set_xlabel("gain, points")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def gain_against_lambda(trials: pd.DataFrame, used: Mapping[str, float], labels: Mapping[str, str]) -> Figure:
    """Gain, its price and the generator at each lambda that was tried, a column per version of `used`."""
    figure, axes = new_figure(max(4.6, 3.7 * len(used)), 4.8, 2, len(used))
    for column, (version, chosen) in enumerate(used.items()):
        rows = trials[(trials["defense"] == version) & (trials["status"] == "ok")].sort_values("lambda_")
        # Zero has no place on a logarithmic axis: a third of the smallest lambda above it.
        at = rows["lambda_"].where(rows["lambda_"] > 0, rows.loc[rows["lambda_"] > 0, "lambda_"].min() / 3)
        top, bottom = axes[:, column]
        errors = [100 * (rows["gain"] - rows["gain_low"]), 100 * (rows["gain_high"] - rows["gain"])]
        top.errorbar(
            at, 100 * rows["gain"], yerr=errors, color=COLORS[0], marker="o", markersize=4, capsize=2,
            label="on minimal images",
        )  # fmt: skip
        clean = 100 * (rows["clean_accuracy"] - rows["control_clean_accuracy"])
        top.plot(at, clean, color=COLORS[3], marker="s", markersize=4, label="without perturbation")
        top.axhline(-100 * ALLOWED_LOSS, color=COLORS[3], linestyle=":", linewidth=0.8)
        top.axhline(0, color="#999999", linewidth=0.8)
        top.axhspan(
            100 * GAC_GAIN[0], 100 * GAC_GAIN[1], color="#999999", alpha=0.3, linewidth=0, label="the paper, minimal"
        )
        if chosen > 0:
            top.axvline(chosen, color=COLORS[4], linestyle="--", label="used")
        top.set_title(f"{labels[version]}, lambda {chosen:g} used")
        bottom.plot(at, rows["perturbation_l2"], color=COLORS[1], marker="o", markersize=4, label="mean L2 of G(x) - x")
        bottom.plot(at, rows["fooled"], color=COLORS[2], marker="s", markersize=4, label="share fooled")
        bottom.set_yscale("symlog", linthresh=0.1)
        bottom.set_ylim(0, max(0.12, bottom.get_ylim()[1]))  # the scale's own tick at 0.1 in view
        bottom.yaxis.set_major_formatter("{x:g}")
        bottom.set_xlabel("lambda")
        for plot in (top, bottom):
            plot.set_xscale("log")
            label_ticks(plot, at)
            plot.set_xticklabels([f"{value:g}" for value in rows["lambda_"]], fontsize=7, rotation=45)
    axes[0, 0].set_ylabel("gain, points")
    axes[1, 0].set_ylabel("generator")
    axes[1, 0].legend(fontsize=7)
    columns = 2 * min(2, len(used))  # all in one line would be wider than one version's figure
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=7)
    return figure
