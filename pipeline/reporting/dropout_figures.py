"""The figures of the section on the dropout ensemble (paper, Section 3.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.reporting.heatmaps import by_pair, pairs
from pipeline.reporting.style import COLORS, class_ticks, label_ticks, new_figure

OTHERS = "#bbbbbb"  # classes that are neither the original label nor the target


def votes(ensemble: pd.DataFrame, attacks: Sequence[str], class_names: tuple[str, ...]) -> Figure:
    """A minimal image of median vote variance among those that are recovered and are in every set."""
    minimal = ensemble[ensemble["attack"] == "minimal"]
    in_all = [set(ensemble.loc[ensemble["attack"] == attack, "row"]) for attack in attacks]
    minimal = minimal[minimal["row"].isin(set.intersection(*in_all))]
    chosen = minimal[minimal["recovered"]] if minimal["recovered"].any() else minimal
    row = chosen.loc[(chosen["vote_variance"] - chosen["vote_variance"].median()).abs().idxmin()]
    original = ensemble[(ensemble["attack"] == "clean") & (ensemble["row"] == row["original_row"])].iloc[0]
    shown = [("original", original)]
    for attack in attacks:
        same = ensemble[(ensemble["attack"] == attack) & (ensemble["row"] == row["row"])]
        shown.append((attack, same.iloc[0]))
    figure, axes = new_figure(2.6 * len(shown), 2.9, 1, len(shown))
    for plot, (name, image) in zip(axes[0], shown, strict=True):
        colors = [OTHERS] * len(class_names)
        colors[int(row["label"])], colors[int(row["target_label"])] = COLORS[0], COLORS[1]
        plot.bar(range(len(class_names)), image["votes"], color=colors)
        class_ticks(plot, class_names, room=10)
        plot.set_title(f"{name}\nvote variance {image['vote_variance']:.2f}")
        plot.set_ylim(0, int(image["passes"]))
    axes[0, 0].set_ylabel(f"votes of {int(row['passes'])} passes")
    shades = zip((COLORS[0], COLORS[1], OTHERS), ("original label", "target label", "other classes"), strict=True)
    handles = [Patch(color=color, label=words) for color, words in shades]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def variances(ensemble: pd.DataFrame, attacks: Sequence[str], class_names: tuple[str, ...]) -> Figure:
    """Mean vote variance on originals by class, and on adversarial images by pair."""
    classes = len(class_names)
    clean = ensemble[ensemble["attack"] == "clean"].groupby("label")["vote_variance"].mean()
    matrices = {attack: by_pair(ensemble, attack, "vote_variance", classes) for attack in attacks}
    high = max(float(np.nanmax(matrix)) for matrix in matrices.values())
    high = max(high, float(clean.max()))
    figure = Figure(figsize=(4.6 * len(attacks), 5.6), layout="constrained")
    grid = figure.add_gridspec(2, len(attacks), height_ratios=[1, 3.2])
    top = figure.add_subplot(grid[0, :])
    top.bar(range(classes), [clean.get(label, np.nan) for label in range(classes)], color=COLORS[0])
    class_ticks(top, class_names)
    top.tick_params(axis="x", labelsize=7)
    top.set_ylim(0, high)
    top.set_ylabel("vote variance")
    top.set_title("originals, by class (axis as the color scale below)")
    for column, (attack, matrix) in enumerate(matrices.items()):
        pairs(figure.add_subplot(grid[1, column]), matrix, class_names, attack, low=0, high=high)
    return figure


def traces(trace: pd.DataFrame) -> Figure:
    """Outcomes against the number of passes, and against further steps of the attack."""
    figure, axes = new_figure(7.4, 2.9, 1, 2)
    most = trace["passes"].max()
    parts = (
        (trace[trace["extra_steps"] == 0], "passes", "passes"),
        (
            trace[trace["passes"] == most].drop_duplicates("extra_steps"),
            "extra_steps",
            "extra steps of the attack after its first success",
        ),
    )
    for plot, (rows, x, words) in zip(axes[0], parts, strict=True):
        for color, outcome in zip(COLORS, ("thwarted", "recovered"), strict=False):
            plot.plot(rows[x], rows[outcome], color=color, marker="o", markersize=3, label=outcome)
            plot.fill_between(
                rows[x], rows[f"{outcome}_low"], rows[f"{outcome}_high"], color=color, alpha=0.2, linewidth=0
            )
        plot.set_xlabel(words)
        plot.set_ylim(0, 1)
    axes[0, 0].set_xscale("log")
    label_ticks(axes[0, 0], parts[0][0]["passes"])
    axes[0, 0].set_ylabel("share of images")
    axes[0, 1].legend()
    return figure


def strengths(trials: pd.DataFrame, used: Mapping[str, Mapping[str, Any]], words: Mapping[str, str]) -> Figure:
    """What each strength that was tried does: `words`, what a strength is called, by defense; `used`: the choice."""
    shown = [defense for defense in words if (trials["defense"] == defense).any() and defense in used]
    figure, axes = new_figure(3.7 * max(1, len(shown)), 2.8, 1, max(1, len(shown)))
    outcomes = {"clean_accuracy": "originals right", "thwarted": "minimal thwarted", "recovered": "minimal recovered"}
    for plot, defense in zip(axes[0], shown, strict=False):
        rows = trials[trials["defense"] == defense]
        for color, (column, name) in zip(COLORS, outcomes.items(), strict=False):
            plot.plot(rows["strength"], rows[column], color=color, marker="o", markersize=3, label=name)
        chosen = used[defense]["used"]
        plot.axvline(chosen, color="#777777", linestyle="--", label=f"used: {chosen:g}")
        plot.locator_params(axis="x", nbins=6)
        plot.set_xlabel(words[defense])
        plot.set_ylim(0, 1.02)
        plot.legend(fontsize=7)
    axes[0, 0].set_ylabel("share of images")
    return figure
