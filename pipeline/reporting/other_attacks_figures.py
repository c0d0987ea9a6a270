"""The figures of the section on other attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.reporting.heatmaps import heatmap
from pipeline.reporting.images import image_grid, magnitude_matrix, tile
from pipeline.reporting.statistics import Statistics
from pipeline.reporting.style import COLORS, LINES, MOST_CLASSES, new_figure, shortened, towards
from pipeline.study_blocks import PAPER_ATTACKS

BUDGETS = {
    "linf": "epsilon: largest change of a pixel",
    "l2": "epsilon: L2 norm of the perturbation",
    "l1": "epsilon: L1 norm of the perturbation",
    "l0": "share of positions that may change",
}


def norms(sets: Mapping[str, Statistics]) -> Figure:
    """Norms of the fooling perturbations, a box per attack."""
    figure, axes = new_figure(9.0, 0.9 + 0.28 * len(sets), 1, 4)
    names = list(sets)
    for plot, norm in zip(axes[0], ("l0", "l1", "l2", "linf"), strict=True):
        fooled = [statistics.examples.query("is_adversarial")[norm].to_numpy() for statistics in sets.values()]
        plot.boxplot(
            fooled,
            orientation="horizontal",
            whis=(5, 95),
            showfliers=False,
            widths=0.6,
            medianprops={"color": COLORS[4]},
        )
        plot.set_yticks(range(1, len(names) + 1), names if norm == "l0" else [""] * len(names))
        plot.invert_yaxis()
        plot.set_title({"l0": "L0: values changed", "l1": "L1", "l2": "L2", "linf": "Linf"}[norm])
    return figure


def examples(sets: Mapping[str, Statistics], class_names: tuple[str, ...]) -> Figure:
    """One image of each class (of the first MOST_CLASSES), a row per attack; blank where it fooled with none of the pair."""
    wanted = {(int(a), int(b)) for statistics in sets.values() for a, b in zip(*statistics.samples[2:], strict=True)}
    pairs = sorted(wanted)[:MOST_CLASSES]
    rows = []
    for statistics in sets.values():
        _, images, labels, targets = statistics.samples
        here = {(int(a), int(b)): image for a, b, image in zip(labels, targets, images, strict=True)}
        blank = np.ones(images.shape[1:], np.float32)
        rows.append(np.stack([here.get(pair, blank) for pair in pairs]))
    columns = [towards(class_names[a], class_names[b]).replace(" ", "") for a, b in pairs]
    return image_grid(rows, list(sets), "label → target", columns)


def averages(sets: Mapping[str, Statistics], class_names: tuple[str, ...]) -> Figure:
    """Average perturbations by pair, a matrix per attack, of the first MOST_CLASSES."""
    columns = min(4, len(sets))
    shown = slice(MOST_CLASSES)
    lines = -(-len(sets) // columns)
    figure, axes = new_figure(2.6 * columns, 2.75 * lines, lines, columns)
    for plot in axes.flat:
        plot.set_axis_off()
    for plot, (name, statistics) in zip(axes.flat, sets.items(), strict=False):
        sizes, scale = magnitude_matrix(statistics.mean_perturbations[shown, shown])
        picture = tile(np.clip(sizes / scale, 0, 1), fill=0.6)
        plot.imshow(picture if picture.shape[2] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
        plot.set_title(f"{name} ({scale:.2g})", fontsize=9)
    names = class_names[: min([MOST_CLASSES, *(len(each.mean_perturbations) for each in sets.values())])]
    ends = f"{shortened(names[0])} to {shortened(names[-1])}"
    figure.suptitle("in parentheses: the |mean change of pixel value| that is shown at full brightness", fontsize=8)
    figure.supylabel(f"original label, {ends}", fontsize=8)
    figure.supxlabel(f"target label, {ends}", fontsize=8)
    return figure


def success_against_budget(success: Mapping[str, pd.DataFrame], sets: Mapping[str, Statistics]) -> Figure:
    """Share fooled within each budget, an axis per norm."""
    norms = [norm for norm in BUDGETS if any((frame["norm"] == norm).any() for frame in success.values())]
    figure, axes = new_figure(3.4 * len(norms), 3.2, 1, len(norms))
    for plot, norm in zip(axes[0], norms, strict=True):
        chosen = {name: frame for name, frame in success.items() if (frame["norm"] == norm).all()}
        for (color, style), (name, frame) in zip(LINES, chosen.items(), strict=False):
            plot.plot(
                frame["budget"], frame["attack_success_rate"], style, color=color, label=name, marker=".", markersize=4
            )  # fmt: skip
            plot.fill_between(frame["budget"], frame["low"], frame["high"], color=color, alpha=0.2, linewidth=0)
        if norm == "l2":
            for style, name in zip(("-", ":"), [name for name in PAPER_ATTACKS if name in sets], strict=False):
                examples = sets[name].examples.query("source_split == 1")
                lengths = np.sort(examples.loc[examples["is_adversarial"], "l2"])
                plot.plot(lengths, np.arange(1, len(lengths) + 1) / len(examples), style, color="#777777", label=name)
        plot.set_xlabel(BUDGETS[norm])
        plot.set_ylim(0, 1.03)
        plot.legend(fontsize=7)
    axes[0, 0].set_ylabel("share of images fooled")
    return figure


def defenses(
    metrics: Mapping[str, Any], names: Sequence[str], attacks: Sequence[str], labels: Mapping[str, str]
) -> Figure:
    """What each defense thwarts and recovers of each attack's images."""
    figure, axes = new_figure(11.2, 0.36 * len(names) + 1.2, 1, 2)
    for plot, outcome, rows in zip(
        axes[0], ("thwarted", "recovered"), ([labels[name] for name in names], [""] * len(names)), strict=True
    ):
        values = _outcomes(metrics, names, attacks, outcome)
        heatmap(
            plot, values, attacks, outcome, low=0, high=1, row_names=rows, rows_are="", columns_are="",
            values_are="share of images",
        )  # fmt: skip
    return figure


def _outcomes(
    metrics: Mapping[str, Any], names: Sequence[str], attacks: Sequence[str], outcome: str
) -> NDArray[np.float64]:
    return np.array(
        [
            [metrics["defenses"][name].get(attack, {}).get(outcome, {}).get("value", np.nan) for attack in attacks]
            for name in names
        ]
    )
