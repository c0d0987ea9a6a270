"""The report's section on the dropout-enabled autoencoder ensemble (paper, Section 3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.reporting.images import image_grid
from pipeline.reporting.outcomes import STATIC, WORDS, attacks_on, outcome_table, pairs_figure
from pipeline.reporting.paper_numbers import AUTOENCODER_CLEAN, AUTOENCODER_THWARTED
from pipeline.reporting.section import Section, number, percent, points, rate
from pipeline.reporting.style import COLORS, new_figure

PAPER, TUNED = "autoencoder_ensemble", "autoencoder_ensemble_tuned"
WITHOUT, BLUR = "autoencoder_without_dropout", "gaussian_blur"
SHOWN = ("undefended", PAPER, TUNED, WITHOUT, BLUR)
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


@dataclass(frozen=True)
class AutoencoderResults:
    """What was measured of the autoencoders of one dataset: tables as `data/README.md` describes them."""

    evaluations: Mapping[str, pd.DataFrame]
    trials: pd.DataFrame
    curves: Mapping[str, pd.DataFrame]
    examples: RestoredExamples


def autoencoder_section(
    metrics: Mapping[str, Any], results: AutoencoderResults, class_names: tuple[str, ...]
) -> Section:
    """Figure 8 and its like, what training and dropout each buy, and the trade-off that short trainings show."""
    section = Section("Defense 2: dropout-enabled autoencoder ensemble")
    attacks = attacks_on(metrics, PAPER)
    section.text(STATIC)
    _configurations(section, metrics)
    outcome_table(section, metrics, SHOWN)
    _claims(section, metrics, results, attacks, class_names)
    _controls(section, metrics, attacks)
    for name, words in ((PAPER, "the paper's configuration"), (TUNED, "the tuned configuration")):
        for outcome in ("thwarted", "recovered"):
            main = name == PAPER and outcome == "thwarted"
            does = "did not get the target" if outcome == "thwarted" else "got the original label back"
            section.figure(
                "figure_8_thwarted" if main else f"{name}_{outcome}",
                pairs_figure(results.evaluations[name], attacks, outcome, class_names),
                f"{'Figure 8. ' if main else ''}Share of adversarial images that {does} (static), autoencoder ensemble in {words}, per (original label, target label).",
            )
    section.figure(
        "clean_accuracy_by_class",
        _by_class(metrics, results, class_names),
        "Share of the attacked originals (all classified rightly without a defense) that stay right, by class."
        + (" The gray band is what the paper reports." if metrics["run"]["dataset"] == "cifar10" else ""),
    )
    for name in (PAPER, TUNED, BLUR):
        section.figure(f"restored_{name}", _strips(results.examples, name, class_names), _strips_caption(name))
    _trade_off(section, metrics, results, attacks)
    section.figure(
        "autoencoder_curves",
        _curves(results.curves),
        "Learning curves: the minimized loss (mean squared error, and for the tuned one the classifier's term), and the share of single restored images with dropout on that get their original's label. Training figures are running ones; the validation originals are no training originals.",
    )
    return section


def _configurations(section: Section, metrics: Mapping[str, Any]) -> None:
    rows = []
    for name in (PAPER, TUNED):
        entry = metrics["trainings"][name]
        architecture, training = entry["architecture"], entry["training"]
        rows.append(
            [
                WORDS[name],
                ", ".join(map(str, architecture["channels"])),
                f"{architecture['dropout']:g}",
                "a correction" if architecture["residual"] else "the image",
                " and ".join(entry["sets"]),
                percent(training["clean_share"], 0),
                f"{training['classifier_weight']:g}",
                "yes" if training["flip"] else "no",
                str(training["epochs"]),
            ]
        )
    section.table(
        ["configuration", "channels", "dropout rate", "it gives", "trained on", "clean images", "classifier's term", "mirrored", "epochs at most"],
        rows,
        "The paper gives neither widths nor rate nor passes nor augmentation; these are ours, the dropout rate chosen on validation originals (below). The tuned one learns from the classifier and from clean images too, which the paper's does not. One training each: no interval on this page covers the chance of training.",
    )  # fmt: skip


def _claims(
    section: Section,
    metrics: Mapping[str, Any],
    results: AutoencoderResults,
    attacks: Sequence[str],
    class_names: tuple[str, ...],
) -> None:
    paper, tuned = metrics["defenses"][PAPER], metrics["defenses"][TUNED]
    rows = [
        [
            f"{attack}, thwarted",
            "roughly half",
            *(rate(entry[attack]["thwarted"]) for entry in (paper, tuned)),
        ]
        for attack in attacks
        if attack in ("minimal", "extended")
    ]
    rows += [
        [f"{attack}, recovered", "not given", *(rate(entry[attack]["recovered"]) for entry in (paper, tuned))]
        for attack in attacks
        if attack in ("minimal", "extended")
    ]
    spread = []
    for name in (PAPER, TUNED):
        classes = _class_accuracy(results.evaluations[name])
        low, high = classes.idxmin(), classes.idxmax()
        spread.append(
            f"{rate(metrics['defenses'][name]['clean_accuracy'])}; {class_names[low]} {percent(classes[low])} to {class_names[high]} {percent(classes[high])}"
        )
    rows.append(["attacked originals right", "60 to 70 %, depending on the class", *spread])
    section.table(
        ["CIFAR-10 in the paper", "paper", f"paper's configuration, ours, {metrics['run']['dataset']}", "tuned"],
        rows,
        "The paper's claims (Section 3.2) and what was measured here. An image that is thwarted and not recovered has been turned into something else: thwarting alone is no merit.",
    )


def _controls(section: Section, metrics: Mapping[str, Any], attacks: Sequence[str]) -> None:
    errors = metrics["restorations"]["reconstruction_error"]
    kinds = ["clean", *attacks]
    words = {"nothing": "no restoration", **WORDS}
    rows = []
    for name, entry in errors.items():
        label = words.get(name, name)
        if name == BLUR:
            label += f", sigma {metrics['restorations']['blur_sigma']['used']:g} pixels"
        rows.append([label, *(number(entry[kind]) if kind in entry else "" for kind in kinds)])
    section.table(
        ["mean squared error per pixel", *kinds],
        rows,
        "Distance of the restored image from the original, one pass each, on validation originals. Of the blurs tried, this is the one whose error on originals is nearest to the paper's autoencoder's: there it can be as large as one likes; on adversarial images no blur may come as near.",
    )
    blur = metrics["defenses"][BLUR]
    training = metrics["comparisons"][f"{WITHOUT}_minus_{BLUR}"]
    dropout = metrics["comparisons"][f"{PAPER}_minus_{WITHOUT}"]
    for kind in training:
        right = "recovered" if kind != "clean" else "right"
        section.text(
            f"{'attacked originals' if kind == 'clean' else kind}: one pass of the paper's autoencoder without dropout has {points(training[kind]['recovered'])} more {right} than the blur "
            f"({_verdict(training[kind]['recovered'], 'the training is worth it', 'the blur does better')}); "
            f"dropout and {metrics['defenses'][PAPER]['passes']} passes add {points(dropout[kind]['recovered'])} to that one pass "
            f"({_verdict(dropout[kind]['recovered'], 'the ensemble does better', 'it does better without')})."
        )
    section.text(
        f"On originals the error of this blur is {errors[BLUR]['clean'] / errors[PAPER]['clean']:.2f} times the autoencoder's. The differences are image by image, with intervals over originals. The blur keeps {rate(blur['clean_accuracy'])} of the attacked originals right. "
        "The paper's reason for the dropout is an attacker who knows of the autoencoder; static images cannot test that."
    )


def _verdict(difference: Mapping[str, float], better: str, worse: str) -> str:
    if difference["low"] > 0:
        return better
    return worse if difference["high"] < 0 else "no difference shown"


def _class_accuracy(evaluation: pd.DataFrame) -> pd.Series:
    clean = evaluation[evaluation["attack"] == "clean"]
    return clean.groupby(clean["label"].astype(int))["recovered"].mean()


def _by_class(metrics: Mapping[str, Any], results: AutoencoderResults, class_names: tuple[str, ...]) -> Figure:
    figure, axes = new_figure(7.4, 3.1)
    plot = axes[0, 0]
    names = [name for name in SHOWN if name != "undefended"]
    width = 0.8 / len(names)
    for position, (color, name) in enumerate(zip(COLORS, names, strict=False)):
        values = _class_accuracy(results.evaluations[name]).reindex(range(len(class_names)))
        places = np.arange(len(class_names)) + (position - (len(names) - 1) / 2) * width
        plot.bar(places, values, width, color=color, label=WORDS[name])
    if metrics["run"]["dataset"] == "cifar10":
        plot.axhspan(*AUTOENCODER_CLEAN, color="#999999", alpha=0.35, linewidth=0, zorder=0)
    plot.set_xticks(range(len(class_names)), class_names, rotation=45 if len(class_names[0]) > 2 else 0)
    plot.set_ylim(0, 1)
    plot.set_ylabel("originals right")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _strips(examples: RestoredExamples, method: str, class_names: tuple[str, ...]) -> Figure:
    originals = examples.inputs["clean"]
    rows, names = [originals], ["original"]
    for kind, images in examples.inputs.items():
        restored = examples.restored[method][kind]
        if kind != "clean":
            rows += [images, images - originals]
            names += [kind, "perturbation"]
        rows += [restored, restored - originals]
        names += ["restored", "what is left"]
    titles = [class_names[label] for label in examples.labels]
    return image_grid(rows, names, WORDS[method], titles)


def _strips_caption(name: str) -> str:
    return (
        f"{WORDS[name]}: the first test original of each class that both attacks fooled towards the next class, and one pass "
        "(of an autoencoder: with dropout on) over the original, the minimal and the extended image. Perturbation: adversarial minus original; what is left: restored minus original; both on one scale."
    )


def _trade_off(
    section: Section, metrics: Mapping[str, Any], results: AutoencoderResults, attacks: Sequence[str]
) -> None:
    trials = results.trials
    most = trials["passes"].max()
    shown = [attack for attack in attacks if f"{attack}_thwarted" in trials]
    figure, axes = new_figure(7.4, 6.2, 2, len(shown))
    for column, attack in enumerate(shown):
        for line, outcome in enumerate(("thwarted", "recovered")):
            plot = axes[line, column]
            for color, (name, family) in zip(COLORS, trials.groupby("defense", sort=False), strict=False):
                _family(plot, family, f"{attack}_{outcome}", color, most, WORDS[str(name)])
                entry = metrics["defenses"][name]
                plot.plot(
                    entry["clean_accuracy"]["value"], entry[attack][outcome]["value"], marker="*", markersize=12,
                    color=color, markeredgecolor="black", linestyle="none", label=f"{WORDS[str(name)]}: full training, test split",
                )  # fmt: skip
            # On CIFAR-10 only: elsewhere it is no comparison, and squeezes what is into a corner.
            if outcome == "thwarted" and attack in AUTOENCODER_THWARTED and metrics["run"]["dataset"] == "cifar10":
                low, high = AUTOENCODER_CLEAN
                plot.errorbar(
                    (low + high) / 2, AUTOENCODER_THWARTED[attack], xerr=(high - low) / 2, color="#555555",
                    marker="s", capsize=3, linestyle="none", label="the paper",
                )  # fmt: skip
            plot.set_title(f"{attack}, {outcome}")
            plot.set_xlabel("originals right")
    columns = [f"{attack}_{outcome}" for attack in shown for outcome in ("thwarted", "recovered")]
    lowest = 0 if metrics["run"]["dataset"] == "cifar10" else float(trials[columns].min(axis=None)) - 0.03
    left, right = (pick(plot.get_xlim()[end] for plot in axes.flat) for end, pick in ((0, min), (1, max)))
    for plot in axes.flat:
        plot.set_xlim(left - 0.06 * (right - left), right)  # room for the label of the leftmost dot
        plot.set_ylim(max(0, lowest), 1.02)
    for line in range(2):
        axes[line, 0].set_ylabel("share of images")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    epochs = " or ".join(map(str, sorted(set(trials["epochs"]))))
    section.figure(
        "trade_off",
        figure,
        f"Short trainings on a subset ({int(trials['training_originals'].iloc[0])} originals, {epochs} epochs), judged by {int(most)} passes on {int(trials['originals'].iloc[0])} validation originals, one target each (static). "
        "Lines with dots: dropout rate, the least and the most of them written beside their dots; triangles: share of clean images; diamonds: weight of the classifier's term; small dots: fewer passes of the base. Stars: the full trainings, on the test split.",
    )
    rows = []
    for _, row in trials[trials["passes"] == most].iterrows():
        rows.append(
            [
                WORDS.get(row["defense"], row["defense"]),
                "base" if row["varied"] == "base" else f"other {VARIED.get(row['varied'], row['varied'])}",
                f"{row['dropout']:g}",
                percent(row["clean_share"], 0),
                f"{row['classifier_weight']:g}",
                percent(row["clean_accuracy"]),
                *(percent(row[f"{attack}_{outcome}"]) for attack in shown for outcome in ("thwarted", "recovered")),
            ]
        )
    chosen = "; ".join(
        f"{WORDS[name]}: {entry['by_rule']:g} by the rule, {entry['used']:g} used"
        for name, entry in metrics["autoencoder_trials"].items()
    )
    section.table(
        ["family", "training", "dropout rate", "clean images", "classifier's term", "originals right"]
        + [f"{attack}: {outcome}" for attack in shown for outcome in ("thwarted", "recovered")],
        rows,
        "The same short trainings in numbers, validation originals. Rule for the dropout rate: of those above 0 the largest whose average of originals right, minimal recovered and extended recovered is within a point of the best. One training and so many originals each: differences of a point or two may be chance. "
        + chosen
        + ".",
    )


def _family(plot: Any, family: pd.DataFrame, column: str, color: str, most: int, name: str) -> None:
    full = family[family["passes"] == most]
    rates = full[full["varied"].isin(("base", "dropout"))].sort_values("dropout")
    plot.plot(
        rates["clean_accuracy"], rates[column], color=color, marker="o", markersize=4, label=f"{name}: dropout rate"
    )
    for row, place, align in ((rates.iloc[0], (5, -2), "left"), (rates.iloc[-1], (-5, -2), "right")):
        plot.annotate(f"{row['dropout']:g}", (row["clean_accuracy"], row[column]), color=color, fontsize=6, xytext=place, ha=align, textcoords="offset points")  # fmt: skip
    for varied, marker in (("clean_share", "^"), ("classifier_weight", "D")):
        points = full[full["varied"] == varied]
        if len(points):
            plot.plot(points["clean_accuracy"], points[column], color=color, marker=marker, markersize=5, linestyle="none", markerfacecolor="none", label=f"{name}: {VARIED[varied]}")  # fmt: skip
    passes = family[(family["varied"] == "base")].sort_values("passes")
    plot.plot(
        passes["clean_accuracy"], passes[column], color=color, marker=".", markersize=3, linestyle=":", linewidth=1
    )


def _curves(curves: Mapping[str, pd.DataFrame]) -> Figure:
    figure, axes = new_figure(7.4, 4.6, 2, len(curves))
    styles = {"train": "-", "validation": "--", "validation_clean": ":"}
    words = {"train": "training", "validation": "validation, adversarial", "validation_clean": "validation, originals"}
    for column, (name, table) in enumerate(curves.items()):
        for line, quantity in enumerate(("loss", "accuracy")):
            plot = axes[line, column]
            for color, (split, style) in zip(COLORS, styles.items(), strict=False):
                rows = table[table["split"] == split]
                plot.plot(rows["epoch"], rows[quantity], color=color, linestyle=style, marker=".", label=words[split])
            plot.set_xticks(sorted(set(table["epoch"])))
            plot.set_title(WORDS[name] if line == 0 else "")
        axes[0, column].set_yscale("log")
        axes[1, column].set_xlabel("epoch")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("accuracy")
    axes[1, 0].legend(fontsize=7)
    return figure
