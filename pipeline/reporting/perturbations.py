"""The report's sections on the classifier and the adversarial sets (paper, Sections 2.1 to 2.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from pipeline.reporting.images import image_grid, magnitude_matrix, matrix_figure
from pipeline.reporting.paper_numbers import EXAMPLES_PER_DATASET, TABLE_1
from pipeline.reporting.section import Section, number, percent, rate
from pipeline.reporting.style import COLORS, DIVERGING, heatmap, label_ticks, new_figure

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """What `measure_perturbations` wrote for one attack, and a few of its images to look at.

    `mean_*`: see `artifacts.statistics.MeanImages`. `samples`: originals and adversarial images,
    float32 (n, c, h, w) in [0, 1] each, with their labels and target labels.
    """

    examples: pd.DataFrame
    pairs: pd.DataFrame
    pixels: pd.DataFrame
    profile: pd.DataFrame
    mean_originals: Floats
    mean_adversarial: Floats
    mean_perturbations: Floats
    samples: tuple[Floats, Floats, NDArray[np.uint8], NDArray[np.uint8]]


def classifier_section(metrics: Mapping[str, Any], curves: pd.DataFrame) -> Section:
    """What was run, on what, and how well the attacked classifier does."""
    section = Section("What was run")
    run, classifier = metrics["run"], metrics["classifier"]
    section.table(
        ["", ""],
        [
            ["images", run["source"]],
            ["SHA-256 of the source", run["source_checksum"]],
            ["summarized on", run["device"]],
            ["classifier, test accuracy", rate(classifier["test_accuracy"], 2)],
            *[[name, in_words(value)] for name, value in metrics["params"].items()],
            *[
                [f"attack {name}", ", ".join(f"{k} = {v}" for k, v in attack["params"].items())]
                for name, attack in metrics["attacks"].items()
            ],
        ],
        "Intervals are 95 %, by bootstrap over originals; they do not cover the training of the classifier.",
    )
    figure, axes = new_figure(7.4, 2.7, 1, 2)
    for plot, quantity in zip(axes[0], ("loss", "accuracy"), strict=True):
        for color, (split, rows) in zip(COLORS, curves.groupby("split"), strict=False):
            plot.plot(rows["epoch"], rows[quantity], color=color, label=str(split), marker=".", markersize=3)
        plot.set_xlabel("epoch")
        plot.set_ylabel("cross-entropy" if quantity == "loss" else quantity)
    axes[0, 0].legend()
    section.figure(
        "learning_curves", figure, "Learning curves of the attacked classifier; on the training split with dropout on and augmented images."
    )  # fmt: skip
    return section


def attacks_section(
    metrics: Mapping[str, Any],
    sets: Mapping[str, Statistics],
    calibration: tuple[pd.DataFrame, pd.DataFrame],
    class_names: tuple[str, ...],
) -> Section:
    """Table 1, Figures 1 to 4, and what the paper says of structure, measured."""
    dataset = metrics["run"]["dataset"]
    section = Section("Adversarial images and their perturbations")
    _success(section, metrics, sets, class_names)
    section.heading("Table 1: the size of the perturbations")
    _table_1(section, metrics, sets, dataset)
    section.figure(
        "histograms", _histograms(sets), "Distribution of L1 norm, L2 norm and raw pixel values of the perturbations."
    )
    minimal = sets["minimal"]
    matrix = minimal.mean_adversarial.copy()
    index = np.arange(len(class_names))
    matrix[index, index] = minimal.mean_originals
    section.heading("Figures 1 to 4")
    section.figure(
        "figure_1_average_adversarial_images",
        matrix_figure(matrix, class_names, "Average minimal adversarial image", low=0, high=1),
        "Figure 1. Average adversarial image of each (original label, target label); the diagonal shows the average original image.",
    )
    for name, statistics in sets.items():
        section.figure(
            f"examples_{name}",
            _examples(statistics, class_names, name),
            f"One {name} image for each original class, of the test split.",
        )
    section.figure(
        "figure_2_errors",
        error_diagram(),
        "Figure 2. The three errors as measured here. Reading the sensitivity of a classifier off these norms is ours; the paper defines the terms for algorithms in general.",
    )
    _sensitivity(section, metrics, sets)
    section.figure(
        "figure_3_average_perturbations",
        _two_averages(minimal, class_names),
        "Figure 3. Average perturbation from class 0 towards classes 5 and 9, as in the paper: blue takes brightness away, red adds it."
        if minimal.mean_originals.shape[1] == 1
        else "Figure 3. Average perturbation from class 0 towards classes 5 and 9, as in the paper, around gray.",
    )
    sizes, scale = magnitude_matrix(minimal.mean_perturbations)
    section.figure(
        "figure_4_average_perturbations",
        matrix_figure(sizes, class_names, f"|average perturbation|, full brightness = {scale:.3g}", low=0, high=scale),
        "Figure 4. Average perturbation of each (original label, target label), absolute value of each color channel.",
    )
    _structure(section, metrics, sets, class_names)
    _calibration(section, metrics, calibration)
    return section


def in_words(value: Any) -> str:
    """A params block in one line: "epochs = 8, batch_size = 128"."""
    if not isinstance(value, Mapping):
        return str(value)
    return "; ".join(
        f"{key}: {in_words(entry)}" if isinstance(entry, Mapping) else f"{key} = {entry}"
        for key, entry in value.items()
    )


def table_1_rows(columns: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows of Table 1, a column per set: each maps quantity and statistic to a number."""
    return [
        [f"{words}, {statistic}", *(number(column[quantity][statistic]) for column in columns)]
        for quantity, words in (("pixel", "pixel value"), ("l1", "L1 norm"), ("l2", "L2 norm"))
        for statistic in ("mean", "std", "min", "max")
    ]


def pair_matrix(pairs: pd.DataFrame, column: str, classes: int) -> NDArray[np.float64]:
    """A column of a pairs table as a (label, target label) matrix, NaN on the diagonal."""
    matrix = np.full((classes, classes), np.nan)
    matrix[pairs["label"].to_numpy(), pairs["target_label"].to_numpy()] = pairs[column].to_numpy()
    return matrix


def _success(
    section: Section, metrics: Mapping[str, Any], sets: Mapping[str, Statistics], class_names: tuple[str, ...]
) -> None:
    rows = []
    for name in sets:
        attack = metrics["attacks"][name]
        rows.append(
            [
                name,
                f"{attack['examples']:,}",
                rate(attack["success_rate"], 2),
                rate(attack["uint8_success_rate"], 1),
                f"{attack['steps_mean']:.1f}",
                f"{sets[name].examples['steps'].max()}",
            ]
        )
    section.table(
        ["attack", "images", "fooled, as stored", "fooled after rounding to 8 bits", "mean steps", "most steps"],
        rows,
        f"Success of the attacks, measured on the stored float32 images. The paper made {EXAMPLES_PER_DATASET:,} per dataset.",
    )
    classes = len(class_names)
    figure, axes = new_figure(9.2, 4.2, 1, 2)
    pairs = sets["minimal"].pairs
    heatmap(
        axes[0, 0], pair_matrix(pairs, "success_rate", classes), class_names, "share fooled (minimal)", low=0, high=1
    )
    mean_steps = (
        sets["minimal"]
        .examples.query("is_adversarial")
        .groupby(["label", "target_label"], as_index=False)["steps"]
        .mean()
    )
    heatmap(axes[0, 1], pair_matrix(mean_steps, "steps", classes), class_names, "mean steps (minimal)", form="{:.0f}")
    section.figure(
        "success_and_steps",
        figure,
        "Share of images fooled, and mean gradient steps to the first success, for each (original label, target label).",
    )


def _table_1(section: Section, metrics: Mapping[str, Any], sets: Mapping[str, Statistics], dataset: str) -> None:
    header, columns = ["perturbations"], []
    for name in sets:
        header.append(f"{name}, ours")
        columns.append(metrics["attacks"][name])
        if (dataset, name) in TABLE_1:
            header.append(f"{name}, paper")
            columns.append(TABLE_1[dataset, name])
    section.table(
        header, table_1_rows(columns), "Table 1. Statistics of the perturbations; pixels in [0, 1], fooled images only."
    )
    compared = [name for name in sets if (dataset, name) in TABLE_1]
    for name in compared:
        ours, paper = metrics["attacks"][name]["l2"], TABLE_1[dataset, name]["l2"]
        below = float((sets[name].examples.query("is_adversarial")["l2"] <= paper["max"]).mean())
        section.text(
            f"Our mean L2 norm ({name}) is {ours['mean'] / paper['mean']:.2f} times the paper's; "
            f"{percent(below)} of our perturbations are no longer than the paper's longest ({paper['max']:.3g}). "
            "What may differ: the classifier, whose distance to the boundary sets the norm (the paper gives neither widths "
            "nor accuracy), the step size (not given) and the number of extra steps (not given)"
            + (", and the images, a lossy re-encoding here. " if "lossy" in metrics["run"]["source"] else ". ")
            + (
                "The paper's largest MNIST norm is exactly 2.00, which looks like a cut: longer perturbations may have been left out there; here none is."
                if paper["max"] == 2.0
                else ""
            )
        )
    if not compared:
        section.text("The paper has no column for this dataset and these attacks.")


def _histograms(sets: Mapping[str, Statistics]) -> Figure:
    figure, axes = new_figure(7.6, 2.7, 1, 3)
    for color, (name, statistics) in zip(COLORS, sets.items(), strict=False):
        fooled = statistics.examples.query("is_adversarial")
        for plot, norm in zip(axes[0], ("l1", "l2"), strict=False):
            plot.hist(fooled[norm], bins=60, histtype="step", color=color, label=name, density=True)
        pixels = statistics.pixels.groupby(np.arange(len(statistics.pixels)) // 10).agg(
            {"low": "min", "high": "max", "count": "sum"}
        )
        used = pixels[pixels["count"] > 0]
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


def _examples(statistics: Statistics, class_names: tuple[str, ...], name: str) -> Figure:
    originals, images, labels, targets = statistics.samples
    columns = [f"{class_names[a]} → {class_names[b]}" if len(class_names[a]) < 3 else f"{class_names[a][:5]}→{class_names[b][:5]}" for a, b in zip(labels, targets, strict=True)]  # fmt: skip
    return image_grid(
        [originals, images, images - originals],
        ["original", "adversarial", "difference"],
        f"{name}: label → target",
        columns,
    )


def _two_averages(statistics: Statistics, class_names: tuple[str, ...]) -> Figure:
    pair = statistics.mean_perturbations[0, [5, 9]]
    figure, axes = new_figure(6.4, 3.0, 1, 2)
    limit = float(np.abs(pair).max())
    for plot, image, target in zip(axes[0], pair, (5, 9), strict=True):
        if image.shape[0] == 1:
            shown = plot.imshow(image[0], cmap=DIVERGING, vmin=-limit, vmax=limit)
        else:
            plot.imshow(np.clip(0.5 + 0.5 * image / limit, 0, 1).transpose(1, 2, 0))
        plot.set_title(f"{class_names[0]} → {class_names[target]}")
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


def _sensitivity(section: Section, metrics: Mapping[str, Any], sets: Mapping[str, Statistics]) -> None:
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
    plot.set_xlabel("sensitivity: change of logits per change of pixels (L2)")
    plot.set_ylabel("images")
    plot.legend(fontsize=7)
    section.figure(
        "sensitivity",
        figure,
        "Sensitivity of the classifier to the perturbations and to random noise of equal L2 norm on the same originals.",
    )
    words = "; ".join(
        f"{name}: {attack['sensitivity_mean']:.3g} against {attack['noise_sensitivity_mean']:.3g} for noise ({attack['sensitivity_mean'] / attack['noise_sensitivity_mean']:.0f} times)"
        for name, attack in ((name, metrics["attacks"][name]) for name in sets)
    )
    section.text(f"Mean sensitivity, logits per unit of L2 distance: {words}.")


def _structure(
    section: Section, metrics: Mapping[str, Any], sets: Mapping[str, Statistics], class_names: tuple[str, ...]
) -> None:
    section.heading("Structure")
    minimal = sets["minimal"]
    figure, axes = new_figure(9.2, 4.2, 1, 2)
    heatmap(
        axes[0, 0], pair_matrix(minimal.pairs, "class_correlation", len(class_names)), class_names,
        "correlation with class difference", low=-1, high=1, colors=DIVERGING,
    )  # fmt: skip
    plot = axes[0, 1]
    for color, (name, statistics) in zip(COLORS, sets.items(), strict=False):
        rings = statistics.profile
        plot.plot(rings["radius"], rings["mean_absolute_perturbation"], color=color, marker=".", label=name)
    plot.set_xlabel("distance from the center, pixels")
    plot.set_ylabel("mean |perturbation|")
    plot.set_ylim(bottom=0)
    plot.legend()
    plot.set_title("radial profile")
    section.figure(
        "structure", figure,
        "Left: for each pair, the correlation over pixels of the mean perturbation with (mean target image - mean original image). Right: how the perturbations' size falls with the distance from the center.",
    )  # fmt: skip
    for name in sets:
        attack = metrics["attacks"][name]
        profile = sets[name].profile["mean_absolute_perturbation"].to_numpy()
        rises = int((np.diff(profile) > 0.02 * profile.max()).sum())
        shape = (
            "falls outwards without rising again by more than 2 % of its peak, so these are no bands but one hill"
            if rises == 0
            else f"rises again at {rises} of {len(profile) - 1} steps outwards"
        )
        section.text(
            f"{name}: “subtracting the original class and adding the target class” holds to a correlation of "
            f"{attack['class_correlation_mean']:.2f} on average over pairs (1 would be exactly that, 0 noise). "
            f"|perturbation| is {attack['center_to_corner']:.1f} times as large at the center as in the corners, and its profile {shape}. "
            f"Within an image its correlation with the original's edges is {attack['edge_correlation_mean']:.2f} on average."
        )


def _calibration(section: Section, metrics: Mapping[str, Any], calibration: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    section.heading("Two choices: step size and extra steps")
    sizes, extras = calibration
    chosen = metrics["calibration"]
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
    section.figure("calibration", figure, "Measured on validation images, never on the test split.")
    rule = chosen["step_size"]["by_rule"]
    found = "by this rule none of those tried" if rule is None else f"by this rule {rule:g}"
    section.text(
        "The paper gives neither number. The step size is the largest whose mean L2 is within 5 % of that of a quarter of it "
        f"({found}, used {chosen['step_size']['used']:g}); the extra steps bring the ratio of mean L2, "
        f"extended to minimal, nearest to the paper's {chosen['extra_steps']['paper_ratio']:.2f} "
        f"(by this rule {chosen['extra_steps']['by_rule']}, used {chosen['extra_steps']['used']})."
    )
