"""The figures of the section on adversarial sets and their perturbations (paper, Sections 2.1 to 2.3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import LogLocator, NullFormatter

from pipeline.reporting.heatmaps import pair_matrix, pairs
from pipeline.reporting.images import image_grid
from pipeline.reporting.statistics import Statistics
from pipeline.reporting.style import (
    COLORS,
    DIVERGING,
    MOST_CLASSES,
    label_ticks,
    new_figure,
    shortened,
    towards,
)


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Loss and accuracy of the attacked classifier against epochs, by split."""
    figure, axes = new_figure(7.4, 2.7, 1, 2)
    for plot, quantity in zip(axes[0], ("loss", "accuracy"), strict=True):
        for color, (split, rows) in zip(COLORS, curves.groupby("split"), strict=False):
            plot.plot(rows["epoch"], rows[quantity], color=color, label=str(split), marker=".", markersize=3)
        plot.set_xlabel("epoch")
        plot.set_ylabel("cross-entropy" if quantity == "loss" else quantity)
    axes[0, 0].legend()
    return figure


def success_and_steps(minimal: Statistics, class_names: tuple[str, ...]) -> Figure:
    """Share fooled and mean steps by pair."""
    classes = len(class_names)
    figure, axes = new_figure(9.2, 4.2, 1, 2)
    shares = pair_matrix(minimal.pairs, "success_rate", classes)
    pairs(axes[0, 0], shares, class_names, "share fooled (minimal)", low=0, high=1)
    fooled = minimal.examples.query("is_adversarial")
    steps = fooled.groupby(["label", "target_label"], as_index=False)["steps"].mean()
    means = pair_matrix(steps, "steps", classes)
    pairs(axes[0, 1], means, class_names, "mean steps (minimal)", form="{:.0f}")
    return figure


def histograms(sets: Mapping[str, Statistics]) -> Figure:
    """L1 norms, L2 norms and raw pixel values, a line per set."""
    figure, axes = new_figure(7.6, 2.7, 1, 3)
    for color, (name, statistics) in zip(COLORS, sets.items(), strict=False):
        fooled = statistics.examples.query("is_adversarial")
        for plot, norm in zip(axes[0], ("l1", "l2"), strict=False):
            plot.hist(fooled[norm], bins=60, histtype="step", color=color, label=name, density=True)
        pixels = statistics.pixels.groupby(np.arange(len(statistics.pixels)) // 10).agg(
            {"low": "min", "high": "max", "count": "sum"}
        )
        counted = np.flatnonzero(pixels["count"])
        used = pixels.iloc[counted[0] : counted[-1] + 1]
        axes[0, 2].stairs(
            used["count"] / pixels["count"].sum(), [*used["low"], used["high"].iloc[-1]], color=color, label=name
        )
    for plot, words in zip(axes[0], ("L1 norm", "L2 norm", "pixel value of the perturbation"), strict=True):
        plot.set_xlabel(words)
    axes[0, 0].set_ylabel("density")
    axes[0, 2].set_ylabel("share of pixels")
    axes[0, 2].set_yscale("log")
    figure.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside upper center", ncols=len(sets))
    return figure


def examples(statistics: Statistics, class_names: tuple[str, ...], name: str) -> Figure:
    """A fooled image of each class (of the first MOST_CLASSES), before, after, and the difference."""
    originals, images = (part[:MOST_CLASSES] for part in statistics.samples[:2])
    labels, targets = (part[:MOST_CLASSES] for part in statistics.samples[2:])
    columns = [towards(class_names[a], class_names[b]) for a, b in zip(labels, targets, strict=True)]
    return image_grid(
        [originals, images, images - originals],
        ["original", "adversarial", "difference"],
        f"{name}: label → target",
        columns,
    )


def averaged_targets(classes: int) -> tuple[int, ...]:
    """The targets of Figure 3, from class 0: the paper's 5 and 9 where there are that many classes."""
    return (5, 9) if classes > 9 else tuple(sorted({1, classes - 1}))


def two_averages(statistics: Statistics, class_names: tuple[str, ...]) -> Figure:
    """The average perturbation from class 0 towards each of `averaged_targets`."""
    targets = averaged_targets(len(class_names))
    pair = statistics.mean_perturbations[0, list(targets)]
    figure, axes = new_figure(3.2 * len(targets), 3.0, 1, len(targets))
    limit = float(np.nan_to_num(np.abs(pair)).max()) or 1.0
    for plot, image, target in zip(axes[0], pair, targets, strict=True):
        if image.shape[0] == 1:
            shown = plot.imshow(image[0], cmap=DIVERGING, vmin=-limit, vmax=limit)
        else:
            plot.imshow(np.clip(0.5 + 0.5 * image / limit, 0, 1).transpose(1, 2, 0))
        plot.set_title(f"{shortened(class_names[0])} → {shortened(class_names[target])}")
        plot.set_axis_off()
    if pair.shape[1] == 1:
        figure.colorbar(shown, ax=list(axes[0]), label="mean change of pixel value")
    else:
        figure.supxlabel(f"gray: no change; full color: ±{limit:.3g}", fontsize=8)
    return figure


def error_diagram() -> Figure:
    """Figure 2: forward error, backward error and sensitivity between input and output space."""
    figure, axes = new_figure(6.6, 2.9)
    plot = axes[0, 0]
    for x, words in ((1.6, "images $X$"), (6.9, "logits $Y$")):
        plot.add_patch(Ellipse((x, 1.5), 2.7, 2.7, facecolor="#f2f2f2", edgecolor="#777777"))
        plot.text(x, 3.0, words, ha="center")
    points = {"x": (1.3, 2.1), "x'": (1.6, 0.9), "F(x)": (6.6, 2.1), "F(x')": (7.2, 0.9)}
    for name, (x, y) in points.items():
        plot.plot(x, y, "o", color="black", markersize=4)
        plot.annotate(
            f"${name}$", (x, y), (-8 if x < 4 else 8, 4), textcoords="offset points", ha="right" if x < 4 else "left"
        )
    for left, right in (("x", "F(x)"), ("x'", "F(x')")):
        plot.annotate(
            "",
            points[right],
            points[left],
            arrowprops={"arrowstyle": "->", "color": "#777777", "shrinkA": 5, "shrinkB": 5},
        )
    for pair, color, words, side in (
        (("x", "x'"), COLORS[0], "backward error\n$\\Vert x' - x\\Vert_2$", 3.9),
        (("F(x)", "F(x')"), COLORS[4], "forward error\n$\\Vert F(x') - F(x)\\Vert_2$", 9.9),
    ):
        (x0, y0), (x1, y1) = points[pair[0]], points[pair[1]]
        plot.plot([x0, x1], [y0, y1], color=color, linewidth=2.5)
        plot.text(side, 1.5, words, color=color, ha="center", va="center")
    plot.text(4.25, -0.35, "sensitivity = forward error / backward error", ha="center")
    plot.set_xlim(-0.2, 11.4)
    plot.set_ylim(-0.6, 3.3)
    plot.set_axis_off()
    return figure


def sensitivity(sets: Mapping[str, Statistics]) -> Figure:
    """Sensitivity to the perturbations and to noise of equal norm, a histogram per set."""
    figure, axes = new_figure(6.6, 2.8)
    plot = axes[0, 0]
    for color, (name, statistics) in zip(COLORS, sets.items(), strict=False):
        fooled = statistics.examples.query("is_adversarial and l2 > 0")
        bins = np.geomspace(max(1e-2, fooled["noise_sensitivity"].quantile(0.001)), fooled["sensitivity"].max(), 70)
        plot.hist(fooled["sensitivity"], bins=bins, histtype="step", color=color, label=name)
        plot.hist(
            fooled["noise_sensitivity"],
            bins=bins,
            histtype="step",
            color=color,
            linestyle=":",
            label=f"noise of the same norm ({name})",
        )
    plot.set_xscale("log")
    plot.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plot.xaxis.set_major_formatter("{x:g}")
    plot.xaxis.set_minor_formatter(NullFormatter())
    plot.set_xlabel("sensitivity: change of logits per change of pixels (L2)")
    plot.set_ylabel("images")
    plot.legend(fontsize=7)
    return figure


def structure(sets: Mapping[str, Statistics], class_names: tuple[str, ...]) -> Figure:
    """Correlation with the class difference by pair, and the radial profile of each set."""
    figure, axes = new_figure(9.2, 4.2, 1, 2)
    correlations = pair_matrix(sets["minimal"].pairs, "class_correlation", len(class_names))
    words = "correlation with class difference"
    pairs(axes[0, 0], correlations, class_names, words, low=-1, high=1, colors=DIVERGING)
    plot = axes[0, 1]
    for color, (name, statistics) in zip(COLORS, sets.items(), strict=False):
        rings = statistics.profile
        plot.plot(rings["radius"], rings["mean_absolute_perturbation"], color=color, marker=".", label=name)
    plot.set_xlabel("distance from the center, pixels")
    plot.set_ylabel("mean |perturbation|")
    plot.set_ylim(bottom=0)
    plot.legend()
    plot.set_title("radial profile")
    return figure


def calibration(chosen: Mapping[str, Any], sizes: pd.DataFrame, extras: pd.DataFrame) -> Figure:
    """Mean L2 against the step size, and the ratio of norms against the extra steps."""
    figure, axes = new_figure(7.4, 2.8, 1, 2)
    left, right = axes[0]
    left.plot(sizes["step_size"], sizes["l2_mean"], color=COLORS[0], marker="o", markersize=4)
    left.axvline(
        chosen["step_size"]["used"], color=COLORS[4], linestyle="--", label=f"used: {chosen['step_size']['used']:g}"
    )
    left.set_xscale("log")
    label_ticks(left, sizes["step_size"])
    left.set_xlabel("step size")
    left.set_ylabel("mean L2 (minimal)")
    left.legend()
    right.plot(extras["extra_steps"], extras["ratio"], color=COLORS[0], marker="o", markersize=3)
    right.axhline(
        chosen["extra_steps"]["paper_ratio"],
        color="#777777",
        linestyle=":",
        label=f"paper: {chosen['extra_steps']['paper_ratio']:.2f}",
    )
    right.axvline(
        chosen["extra_steps"]["used"], color=COLORS[4], linestyle="--", label=f"used: {chosen['extra_steps']['used']}"
    )
    right.set_xlabel("extra steps")
    right.set_ylabel("mean L2, extended / minimal")
    right.legend()
    return figure
