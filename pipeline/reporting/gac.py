"""The report's section on the Generative Adversarial Classifier (paper, Section 3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from pipeline.metrics.gains import EACH_CLASS, VERSIONS
from pipeline.metrics.lambda_choice import ALLOWED_LOSS
from pipeline.reporting.images import image_grid
from pipeline.reporting.outcomes import TRANSFER, WORDS, outcome_table
from pipeline.reporting.paper_numbers import GAC_GAIN
from pipeline.reporting.section import Section, number, percent, points
from pipeline.reporting.style import COLORS, label_ticks, new_figure

MODELS = {"gac": "GAC", "control": "control", "noise_control": "noise control"}
SPLITS = {"train": "training images", "test": "test images", "adversarial_test": "minimal images (test)"}


@dataclass(frozen=True)
class GeneratedImages:
    """e images and what m generators make of them, as `data/README.md` describes."""

    names: tuple[str, ...]
    originals: NDArray[np.float32]
    labels: NDArray[np.uint8]
    generated: NDArray[np.float32]
    predicted_before: NDArray[np.uint8]
    predicted_after: NDArray[np.uint8]


@dataclass(frozen=True)
class GacResults:
    """What was measured of one dataset: tables as `data/README.md` describes them; by version where not said."""

    trials: pd.DataFrame  # of both
    trial_examples: GeneratedImages  # of both
    curves: Mapping[str, pd.DataFrame]
    examples: Mapping[str, GeneratedImages]


def gac_section(metrics: Mapping[str, Any], results: GacResults, class_names: tuple[str, ...]) -> Section:
    """Figures 9 to 13, the gain over both controls, and how it depends on lambda."""
    section = Section("Defense 3: Generative Adversarial Classifier")
    section.text(TRANSFER)
    for version in VERSIONS:
        for failure in metrics["gac"][version]["failed"]:
            section.text(
                f"{WORDS[version]}: training {failure['seed']} {failure['status']}; it is left out of every figure."
            )
    section.figure(
        "figure_9_structure",
        _structure(),
        "Figure 9. The generator perturbs a training image to raise the classifier's loss and pays for the squared L2 norm of the perturbation; the classifier learns from the image and from what the generator makes of it. Blue: the generator's loss; green: the classifier's.",
    )
    _configurations(section, metrics)
    _claims(section, metrics)
    outcome_table(
        section,
        metrics,
        [f"{version}{part}" for version in VERSIONS for part in ("", "_control", "_noise_control")],
    )
    _robustness(section, metrics)
    for version in VERSIONS:
        _changes(section, results.examples[version], version, class_names, metrics["run"]["dataset"])
    for version in VERSIONS:
        _lambdas_grid(section, results.trial_examples, version, class_names)
    _curves(section, results)
    _gain_against_lambda(section, metrics, results.trials)
    return section


def _configurations(section: Section, metrics: Mapping[str, Any]) -> None:
    rows = []
    for version in VERSIONS:
        entry = metrics["gac"][version]
        settings, training = entry["settings"], entry["settings"]["training"]
        rows.append(
            [
                WORDS[version],
                *(
                    ", ".join(map(str, settings[part].get("hidden") or settings[part]["channels"]))
                    for part in ("generator", "classifier")
                ),
                percent(settings["share"], 0),
                f"{training['epochs']} (paper: {_paper_epochs(metrics)})",
                f"{entry['lambda']['used']:g} ({_by_rule(entry)})",
                f"{entry['trainings']}",
            ]
        )
    section.table(
        ["version", "generator", "classifier", "of the train split", "epochs", "lambda used", "trainings"],
        rows,
        f"Lambda weighs the squared L2 norm, summed over an image's pixels in [0, 1] and averaged over the batch, against a cross-entropy in nats averaged over the batch. By the rule it is the one of the largest gain on adversarial images whose originals no training had seen, among those that cost at most {100 * ALLOWED_LOSS:g} point of accuracy on such originals. The paper gives no lambda, no widths and no optimizer; it trains on half of MNIST.",
    )


def _by_rule(entry: Mapping[str, Any]) -> str:
    rule = entry["lambda"]["by_rule"]
    return "by the rule none" if rule is None else f"by the rule {rule:g}"


def _paper_epochs(metrics: Mapping[str, Any]) -> str:
    return {"mnist": "20", "cifar10": "100"}.get(metrics["run"]["dataset"], "not used")


def _claims(section: Section, metrics: Mapping[str, Any]) -> None:
    low, high = GAC_GAIN
    rows = []
    for version in VERSIONS:
        entry = metrics["gac"][version]
        for attack, gains in entry["gain"].items():
            if attack == "clean":
                continue
            accuracy = entry["accuracy"][attack]["test"]
            rows.append(
                [
                    f"{WORDS[version]}: {attack}",
                    f"{100 * low:.0f} to {100 * high:.0f} points, for the right lambda"
                    if attack == "minimal"
                    else "not given",
                    points(gains["over_control"]),
                    points(gains["over_noise_control"]),
                    *(percent(accuracy[model]) for model in MODELS),
                ]
            )
        clean = entry["accuracy"]["clean"]["test"]
        rows.append(
            [
                f"{WORDS[version]}: test images without perturbation",
                "high",
                points(entry["gain"]["clean"]["over_control"]),
                points(entry["gain"]["clean"]["over_noise_control"]),
                *(percent(clean[model], 2) for model in MODELS),
            ]
        )
    section.table(
        ["", "gain in the paper", "gain over the control", "gain over the noise control", *MODELS.values()],
        rows,
        f"Share of images that get their original's label, test split, mean over trainings (transfer), and the gain with its 95 % interval: {metrics['gac'][VERSIONS[0]]['interval']} for {WORDS[VERSIONS[0]]}, {metrics['gac'][VERSIONS[1]]['interval']} for {WORDS[VERSIONS[1]]}. "
        "The control is the paper's vanilla classifier: same architecture, first weights, batches and number of updates. The noise control sees, instead, random noise of the L2 norm of each of the generator's perturbations (within a few percent): what is left of the gain over it is the adversary's. "
        "Batch normalization, which only the DC-GAN version has, sees two batches a step in the GAC and the noise control, and one in the control.",
    )
    _parts(section, metrics)
    for version in VERSIONS:
        gains = metrics["gac"][version]["gain"]["minimal"]
        once = "In this one training, " if metrics["gac"][version]["trainings"] == 1 else ""
        section.text(
            f"{WORDS[version]}: {once}over the control {_verdict(gains['over_control'])}; over the noise control {_verdict(gains['over_noise_control'])}."
        )


def _parts(section: Section, metrics: Mapping[str, Any]) -> None:
    rows = []
    for version in VERSIONS:
        entry = metrics["gac"][version]
        for attack, parts in entry["accuracy"].items():
            for part, models in parts.items():
                made = entry["generator"].get(part) if attack == "clean" else None
                rows.append(
                    [
                        f"{WORDS[version]}: {attack}, {part}",
                        *(percent(models[model], 2) for model in MODELS),
                        *(["", ""] if made is None else [number(made["perturbation_l2"]), percent(made["fooled"], 2)]),
                    ]
                )
    section.table(
        ["whole sets after the training", *MODELS.values(), "mean L2 of G(x) - x", "right images that G fools C with"],
        rows,
        "Seen: images of the train split that were learned from, and adversarial images made from them; unseen: the rest of the train split. Mean over trainings.",
    )


def _verdict(gain: Mapping[str, float]) -> str:
    if gain["low"] > 0:
        size = "more than" if gain["value"] > GAC_GAIN[1] else "within" if gain["value"] >= GAC_GAIN[0] else "less than"
        return f"it gains {points(gain)} on minimal images, {size} the paper's 1 to 3"
    if gain["high"] < 0:
        return f"it loses {points(gain)} on minimal images"
    return f"no gain is shown on minimal images ({points(gain)})"


def _robustness(section: Section, metrics: Mapping[str, Any]) -> None:
    rows = []
    for version in VERSIONS:
        entry = metrics["gac"][version]["minimal_against_it"]
        for model, words in MODELS.items():
            ratio = entry["l2_ratio"].get(f"over_{model}")
            median = entry["l2_median"][model]
            rows.append(
                [
                    f"{WORDS[version]}: {words}",
                    "none found for half of them" if median is None else number(median),
                    percent(entry["success_rate"][model]),
                    "" if ratio is None else _ratio(ratio),
                ]
            )
    first = metrics["gac"][VERSIONS[0]]["minimal_against_it"]
    section.table(
        ["attacked model", "median L2 needed", "fooled", "the GAC needs so many times as much"],
        rows,
        f"The minimal attack run against each trained classifier itself, {first['originals']} test originals that all three of a training classify rightly, towards every other class: what robustness means, in the L2 norm of this one attack. Mean over trainings, the ratio with its 95 % interval over them where there are several.",
    )


def _ratio(entry: Mapping[str, Any]) -> str:
    value = f"{entry['value']:.2f}"
    return value if entry["low"] is None else f"{value} [{entry['low']:.2f}, {entry['high']:.2f}]"


def _structure() -> Figure:
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


def _changes(
    section: Section, examples: GeneratedImages, version: str, class_names: tuple[str, ...], dataset: str
) -> None:
    """Figure 10: images that changed their class, those of the paper's kinds first; Figure 13: two of each class."""
    grid = EACH_CLASS * len(class_names)
    changed = len(examples.labels) - grid
    tag = version.removeprefix("gac_")
    before, after = examples.predicted_before[0], examples.predicted_after[0]
    if changed:
        arrow = "\u2192" if max(map(len, class_names)) == 1 else "\n\u2192"  # words need two lines
        columns = [f"{class_names[before[i]]}{arrow}{class_names[after[i]]}" for i in range(changed)]
        main = version == "gac_vanilla" and dataset != "cifar10"
        order = "" if dataset == "cifar10" else ", the paper's kinds first where they occur"
        section.figure(
            "figure_10_morphs" if main else f"morphs_{tag}",
            image_grid(
                [
                    examples.originals[:changed],
                    examples.generated[0, :changed],
                    examples.generated[0, :changed] - examples.originals[:changed],
                ],
                ["original", "generated", "difference"],
                WORDS[version],
                columns,
            ),
            f"{'Figure 10. ' if main else ''}Test images that the generator moves to another class, with the class that the GAC predicts before and after: the first of each kind{order} ({WORDS[version]}).",
        )
    else:
        section.text(f"{WORDS[version]}: no test image changes its predicted class when the generator perturbs it.")
    main = version == "gac_dcgan" and dataset == "cifar10"
    rows, names = [], []
    for start in range(EACH_CLASS):  # the first image of each class, then the second
        pick = slice(changed + start, None, EACH_CLASS)
        rows += [examples.originals[pick], examples.generated[0, pick]]
        names += ["original", "generated"]
    section.figure(
        "figure_13_generated" if main else f"generated_{tag}",
        image_grid(rows, names, WORDS[version], list(class_names)),
        f"{'Figure 13. ' if main else ''}Test images, two of each class, and what the generator makes of them ({WORDS[version]}, first training).",
    )


def _lambdas_grid(section: Section, examples: GeneratedImages, version: str, class_names: tuple[str, ...]) -> None:
    chosen = [i for i, name in enumerate(examples.names) if name.startswith(f"{version} ")]
    if not chosen:
        section.text(f"{WORDS[version]}: every trial training failed, so there are no generated images to compare.")
        return
    tag = version.removeprefix("gac_")
    values = [float(examples.names[i].split()[1]) for i in chosen]
    order = [chosen[i] for i in np.argsort(values)]
    section.figure(
        f"figure_11_lambda_{tag}",
        image_grid(
            [examples.originals, *(examples.generated[i] for i in order)],
            ["original", *(f"\u03bb = {examples.names[i].split()[1]}" for i in order)],
            WORDS[version],
            [class_names[label] for label in examples.labels],
        ),
        f"Figure 11. What the generator makes of unseen training images after a trial training at each lambda ({WORDS[version]}). Trainings that failed are left out.",
    )


def _curves(section: Section, results: GacResults) -> None:
    figure, axes = new_figure(7.4, 4.8, len(VERSIONS), len(SPLITS))
    for line, version in enumerate(VERSIONS):
        curves = results.curves[version]
        for plot, (split, words) in zip(axes[line], SPLITS.items(), strict=True):
            for color, (model, label) in zip(COLORS, MODELS.items(), strict=False):
                rows = curves[(curves["split"] == split) & (curves["model"] == model)]
                by_epoch = rows.groupby("epoch")["accuracy"]
                plot.plot(by_epoch.mean().index, by_epoch.mean(), color=color, label=label)
                plot.fill_between(
                    by_epoch.min().index, by_epoch.min(), by_epoch.max(), color=color, alpha=0.15, linewidth=0
                )
            plot.set_title(words if line == 0 else "")
            plot.set_xlabel("epoch")
            plot.xaxis.get_major_locator().set_params(integer=True)
        axes[line, 0].set_ylabel(f"{WORDS[version]}\naccuracy", fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    section.figure(
        "figure_12_accuracy", figure,
        "Figure 12. Accuracy after each epoch on up to 2,000 images of each kind (adversarial ones: transfer): mean over trainings, and the band from the lowest to the highest of them. The whole sets are in a table above.",
    )  # fmt: skip
    figure, axes = new_figure(7.4, 2.8, 1, 2)
    for color, version in zip(COLORS, VERSIONS, strict=False):
        curves = results.curves[version]
        rows = curves[(curves["split"] == "test") & (curves["model"] == "gac")].groupby("epoch")
        for plot, column in zip(axes[0], ("perturbation_l2", "fooled"), strict=True):
            plot.plot(rows[column].mean().index, rows[column].mean(), color=color, label=WORDS[version])
            plot.set_xlabel("epoch")
    for plot in axes[0]:
        plot.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("mean L2 of G(x) - x")
    axes[0, 1].set_ylabel("share of right images fooled")
    axes[0, 1].legend(fontsize=7)
    section.figure(
        "generator_curves", figure,
        "What the generator does to test images during the training: the mean norm of its perturbation, and the share of rightly classified images that it fools the GAC's classifier with. Mean over trainings.",
    )  # fmt: skip


def _gain_against_lambda(section: Section, metrics: Mapping[str, Any], trials: pd.DataFrame) -> None:
    figure, axes = new_figure(7.4, 4.8, 2, 2)
    for column, version in enumerate(VERSIONS):
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
        used = metrics["gac"][version]["lambda"]["used"]
        if used > 0:
            top.axvline(used, color=COLORS[4], linestyle="--", label="used")
        top.set_title(f"{WORDS[version]}, lambda {used:g} used")
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
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    epochs = ", ".join(f"{WORDS[v]} {trials.loc[trials['defense'] == v, 'epochs'].iloc[0]}" for v in VERSIONS)
    section.figure(
        "gain_against_lambda", figure,
        f"Trial trainings at each lambda (epochs: {epochs}; one seed): gain over the control on minimal images whose originals no training had seen (transfer), 95 % intervals over originals, and on such originals without perturbation, of which the dotted line is the most that a lambda may cost; below, what the generator does to unseen images.",
    )  # fmt: skip
    failed = trials[trials["status"] != "ok"]
    for row in failed.itertuples():
        section.text(f"{WORDS[str(row.defense)]}, lambda {row.lambda_:g}: the training {row.status}.")
