"""The report's sections on other attacks, and on classifiers of several sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.reporting.images import image_grid, magnitude_matrix, tile
from pipeline.reporting.outcomes import PAPER_ATTACKS, STATIC, WORDS
from pipeline.reporting.perturbations import Statistics, in_words, table_1_rows
from pipeline.reporting.section import Section, number, percent, rate
from pipeline.reporting.style import COLORS, heatmap, label_ticks, new_figure

LINES = [(color, style) for style in ("-", "--", "-.", ":") for color in COLORS]  # one after the other, 32 in all
NORMS = {
    "linf": "epsilon: largest change of a pixel",
    "l2": "epsilon: L2 norm of the perturbation",
    "l1": "epsilon: L1 norm of the perturbation",
    "l0": "share of positions that may change",
}


@dataclass(frozen=True)
class SizeResults:
    """What was measured on classifiers of several sizes: a frame per file of `data/sizes/<dataset>`."""

    sizes: pd.DataFrame
    examples: pd.DataFrame
    transfer: pd.DataFrame


def other_attacks_section(
    metrics: Mapping[str, Any],
    sets: Mapping[str, Statistics],
    success: Mapping[str, pd.DataFrame],
    class_names: tuple[str, ...],
) -> Section:
    """Every attack beside the paper's two: norms, structure, success against the budget, and the defenses on them."""
    section = Section("Other attacks")
    section.text(
        "The attacks that the paper describes beside its own (FGSM, JSMA), two that came after it (projected gradient "
        "descent and DDN), and any that Foolbox has: targeted as the paper's, on originals of the test split that are "
        "the first of minimal's and extended's. Their sets are smaller."
    )
    section.table(
        [
            "attack",
            "images",
            "fooled, as stored",
            "fooled after rounding to 8 bits",
            "L2 against minimal",
            "L2 against DDN",
            "parameters",
        ],
        [_size_row(name, attack) for name, attack in metrics["attacks"].items()],
        "Against minimal and DDN: the median (quartiles) of the ratio of L2 norms on the same original and target, where both attacks "
        "fool the classifier. DDN looks for the smallest perturbation and is the yardstick for how minimal minimal is.",
    )
    _verdict_on_minimal(section, metrics)
    columns = {name: metrics["attacks"][name] for name in sets}
    section.heading("Table 1, a column per attack")
    section.table(
        ["perturbations", *columns],
        table_1_rows(list(columns.values())),
        "Statistics of the perturbations, ours; pixels in [0, 1], fooled images only.",
    )
    section.figure(
        "attack_norms",
        _norms(sets),
        "Norms of the perturbations by attack, fooled images only: median, quartiles, and 5 % to 95 %.",
    )
    section.heading("How the images look")
    section.figure(
        "attack_examples",
        _examples({name: sets[name] for name in success}, class_names),
        "One image for each original class, by attack, label → target. A blank: this attack fooled with none of that pair.",
    )
    section.figure(
        "attack_average_perturbations",
        _averages(sets, class_names),
        "Average perturbation of each (original label, target label), absolute values, by attack, each on its own scale "
        "(full brightness as written above it).",
    )
    section.table(
        ["attack", "with the class difference", "with edges", "center to corner", "sensitivity", "against noise"],
        [_structure_row(name, metrics["attacks"][name]) for name in sets],
        "Structure of the perturbations, as in the section above: correlation of the mean perturbation with the difference of "
        "the mean images of target and original class, correlation of its size with edges, its size at the center over that "
        "in the corners, sensitivity of the classifier to it, and as a multiple of that to noise of equal L2 norm.",
    )
    section.heading("Success against the budget")
    curve_originals = max(frame["images"].iloc[0] for frame in success.values()) // (len(class_names) - 1)
    section.figure(
        "success_against_budget",
        _success(success, sets),
        "Share of images fooled within a budget, 95 % interval over originals. Attacks with a budget were run at each point, on "
        "images that no smaller one had fooled, which count as fooled within the larger (so a point of FGSM says that one step of at "
        f"most that size does it, not that this size does). Of these attacks the images of the first {curve_originals:,} originals; "
        "minimal and extended: the whole test-split part, read off the norms, as are those that look for the smallest perturbation.",
    )
    _reach(section, success)
    section.heading("The defenses on these images")
    section.text(STATIC)
    _defenses(section, metrics)
    return section


def sizes_section(metrics: Mapping[str, Any], results: SizeResults) -> Section:
    """How depth and width of a classifier change what fools it, and whether that fools another one."""
    section = Section("Classifiers of several sizes, and transfer between them")
    models = metrics["sizes"]["models"]
    section.text(
        "The paper's conclusion asks how the complexity of a classifier matters, and Tramèr et al. (in its references) why images "
        "made against one fool another. Each of these was trained for a few epochs, on the same images; one training each, so that "
        "no interval here covers the training. All are attacked on the same originals, which all of them classify right. The setting is "
        "transfer wherever an image is shown to another classifier than its own."
    )
    section.table(
        ["classifier", "blocks", "widest", "parameters", "test accuracy", "fooled", "median L2", "mean steps", "median sensitivity"],
        [
            [
                name, str(m["depth"]), str(m["width"]), f"{m['parameters']:,}", percent(m["test_accuracy"]),
                percent(m["success_rate"]), number(m["l2_median"]), f"{m['steps_mean']:.1f}", number(m["sensitivity_median"]),
            ]
            for name, m in models.items()
        ],
        "Minimal images against classifiers of several sizes, "
        f"{next(iter(models.values()))['epochs']} epochs of training each, each from weights of its own, in an order of its own."
        + (" Twin: the architecture of standard." if {"twin", "standard"} <= set(models) else ""),
    )  # fmt: skip
    section.figure(
        "size_curves",
        _size_curves(results),
        "Median L2 norm, mean steps and median sensitivity of minimal images against the number of parameters; bars: quartiles.",
    )
    section.figure(
        "transfer",
        _transfer(results),
        "Images that fool the classifier of the row, shown to that of the column. Left: it sees the target that they were made for; right: anything but the original label.",
    )
    own, error, target = _off_diagonal(results.transfer)
    section.text(
        f"Extended images made on one classifier make another one err in {percent(error['extended'])} of the cases on average, and see the "
        f"wanted target in {percent(target['extended'])}; minimal ones in {percent(error['minimal'])} and {percent(target['minimal'])} "
        f"(on their own classifier {percent(own['extended'])} and {percent(own['minimal'])} see the target, by selection)."
    )
    return section


def _size_row(name: str, attack: Mapping[str, Any]) -> list[str]:
    def ratio(other: str) -> str:
        entry = attack["l2_ratio"].get(other)
        if entry is None or name == other:
            return ""
        return f"{entry['median']:.2f} ({entry['low_quartile']:.2f}, {entry['high_quartile']:.2f})"

    return [
        name,
        f"{attack['examples']:,}",
        rate(attack["success_rate"]),
        rate(attack["uint8_success_rate"]),
        ratio("minimal"),
        ratio("ddn"),
        in_words(attack["params"]),
    ]


def _verdict_on_minimal(section: Section, metrics: Mapping[str, Any]) -> None:
    ratio = metrics["attacks"]["minimal"]["l2_ratio"].get("ddn")
    if ratio:
        section.text(
            f"The paper's minimal perturbations are in the median {ratio['median']:.2f} times as long as DDN's on the same "
            f"{ratio['images']:,} originals and targets: they are the first adversarial ones on one path, which need not be the nearest."
        )


def _structure_row(name: str, attack: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{attack['class_correlation_mean']:.2f}",
        "constant size" if attack["edge_correlation_mean"] is None else f"{attack['edge_correlation_mean']:.2f}",
        number(attack["center_to_corner"]) if attack["center_to_corner"] is not None else "corners untouched",
        number(attack["sensitivity_mean"]),
        f"{attack['sensitivity_mean'] / attack['noise_sensitivity_mean']:.0f}",
    ]


def _norms(sets: Mapping[str, Statistics]) -> Figure:
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


def _examples(sets: Mapping[str, Statistics], class_names: tuple[str, ...]) -> Figure:
    wanted = {(int(a), int(b)) for statistics in sets.values() for a, b in zip(*statistics.samples[2:], strict=True)}
    pairs = sorted(wanted)
    rows = []
    for statistics in sets.values():
        _, images, labels, targets = statistics.samples
        here = {(int(a), int(b)): image for a, b, image in zip(labels, targets, images, strict=True)}
        blank = np.ones(images.shape[1:], np.float32)
        rows.append(np.stack([here.get(pair, blank) for pair in pairs]))
    columns = [f"{class_names[a][:5]}→{class_names[b][:5]}" for a, b in pairs]
    return image_grid(rows, list(sets), "label → target", columns)


def _averages(sets: Mapping[str, Statistics], class_names: tuple[str, ...]) -> Figure:
    columns = 4
    lines = -(-len(sets) // columns)
    figure, axes = new_figure(2.6 * columns, 2.75 * lines, lines, columns)
    for plot in axes.flat:
        plot.set_axis_off()
    for plot, (name, statistics) in zip(axes.flat, sets.items(), strict=False):
        sizes, scale = magnitude_matrix(statistics.mean_perturbations)
        picture = tile(np.clip(sizes / scale, 0, 1))
        plot.imshow(picture if picture.shape[2] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
        plot.set_title(f"{name} ({scale:.2g})", fontsize=9)
    figure.supylabel(f"original label, {class_names[0]} to {class_names[-1]}", fontsize=8)
    figure.supxlabel(f"target label, {class_names[0]} to {class_names[-1]}", fontsize=8)
    return figure


def _success(success: Mapping[str, pd.DataFrame], sets: Mapping[str, Statistics]) -> Figure:
    norms = [norm for norm in NORMS if any((frame["norm"] == norm).any() for frame in success.values())]
    figure, axes = new_figure(3.4 * len(norms), 3.2, 1, len(norms))
    for plot, norm in zip(axes[0], norms, strict=True):
        chosen = {name: frame for name, frame in success.items() if (frame["norm"] == norm).all()}
        for (color, style), (name, frame) in zip(LINES, chosen.items(), strict=False):
            plot.plot(
                frame["budget"], frame["attack_success_rate"], style, color=color, label=name, marker=".", markersize=4
            )  # fmt: skip
            plot.fill_between(frame["budget"], frame["low"], frame["high"], color=color, alpha=0.2, linewidth=0)
        if norm == "l2":
            for style, name in zip(("-", ":"), PAPER_ATTACKS, strict=True):
                examples = sets[name].examples.query("source_split == 1")
                lengths = np.sort(examples.loc[examples["is_adversarial"], "l2"])
                plot.plot(lengths, np.arange(1, len(lengths) + 1) / len(examples), style, color="#777777", label=name)
        plot.set_xlabel(NORMS[norm])
        plot.set_ylim(0, 1.03)
        plot.legend(fontsize=7)
    axes[0, 0].set_ylabel("share of images fooled")
    return figure


def _reach(section: Section, success: Mapping[str, pd.DataFrame]) -> None:
    """What a curve that stays below 100 % says: of the attack, or that its budgets end too early."""
    short = {name: frame["attack_success_rate"].iloc[-1] for name, frame in success.items()}
    below = {name: value for name, value in short.items() if value < 0.9985}
    if below:
        section.text(
            "Below 99.9 % at the end of the curve: "
            + "; ".join(f"{name} {percent(value)}" for name, value in below.items())
            + ". An attack that takes one step, or changes a pixel once, may end below 100 % however large its budget; "
            "one that iterates and still does not get there would be a reason to doubt it."
        )


def _defenses(section: Section, metrics: Mapping[str, Any]) -> None:
    attacks = list(metrics["attacks"])
    names = list(metrics["defenses"])
    figure, axes = new_figure(10.4, 0.36 * len(names) + 1.2, 1, 2)
    for plot, outcome, rows in zip(
        axes[0], ("thwarted", "recovered"), ([WORDS.get(name, name) for name in names], [""] * len(names)), strict=True
    ):
        values = _outcomes(metrics, names, attacks, outcome)
        heatmap(plot, values, attacks, outcome, low=0, high=1, row_names=rows, rows_are="")
        plot.set_xlabel("")
    section.figure(
        "defenses_against_attacks",
        figure,
        "Share of the fooling images that each defense thwarts, and recovers, by attack (static, test split).",
    )
    section.table(
        ["defense", *attacks],
        [
            [
                WORDS.get(name, name),
                *(
                    " / ".join(
                        rate(metrics["defenses"][name][attack][outcome]) for outcome in ("thwarted", "recovered")
                    )
                    if attack in metrics["defenses"][name]
                    else "not judged"
                    for attack in attacks
                ),
            ]
            for name in names
        ],
        "Thwarted / recovered, with 95 % intervals, static. Only images that fool the undefended classifier count, so an attack "
        "that fools few is judged on few.",
    )


def _outcomes(
    metrics: Mapping[str, Any], names: Sequence[str], attacks: Sequence[str], outcome: str
) -> NDArray[np.float64]:
    return np.array(
        [
            [metrics["defenses"][name].get(attack, {}).get(outcome, {}).get("value", np.nan) for attack in attacks]
            for name in names
        ]
    )


def _size_curves(results: SizeResults) -> Figure:
    figure, axes = new_figure(9.0, 3.0, 1, 3)
    minimal = results.examples.query("attack == 'minimal' and is_adversarial")
    sizes = results.sizes.sort_values("parameters")
    ticks = [3 * 10**power // part for power in range(2, 9) for part in (3, 1)]
    for plot, (column, words) in zip(
        axes[0], {"l2": "L2 norm", "steps": "steps", "sensitivity": "sensitivity"}.items(), strict=True
    ):
        for (color, _), (_, model) in zip(LINES, sizes.iterrows(), strict=False):
            values = minimal.loc[minimal["model"] == model["model"], column]
            middle = values.mean() if column == "steps" else values.median()
            low, high = values.quantile([0.25, 0.75])
            plot.plot([model["parameters"]] * 2, [low, high], color=color, linewidth=1)
            plot.plot(
                model["parameters"], middle, "o", color=color, label=f"{model['model']} ({model['depth']} blocks)"
            )
        plot.set_xscale("log")
        low, high = plot.get_xlim()
        label_ticks(plot, [tick for tick in ticks if low <= tick <= high])
        plot.set_xlabel("parameters")
        plot.set_ylabel(f"{'mean' if column == 'steps' else 'median'} {words}")
        plot.set_ylim(bottom=0)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _transfer(results: SizeResults) -> Figure:
    names = list(results.sizes["model"])
    figure, axes = new_figure(8.6, 7.2, 2, 2)
    for line, attack in zip(axes, PAPER_ATTACKS, strict=True):
        rows = results.transfer[results.transfer["attack"] == attack]
        for plot, outcome in zip(line, ("target", "error"), strict=True):
            matrix = rows.pivot(index="made_on", columns="tried_on", values=outcome).loc[names, names].to_numpy()
            heatmap(plot, matrix, names, f"{attack}: {outcome}", low=0, high=1, row_names=names, rows_are="made on")
            plot.set_xlabel("tried on")
    return figure


def _off_diagonal(transfer: pd.DataFrame) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    same = transfer["made_on"] == transfer["tried_on"]
    own = transfer[same].groupby("attack")["target"].mean()
    others = transfer[~same].groupby("attack")
    return own.to_dict(), others["error"].mean().to_dict(), others["target"].mean().to_dict()
