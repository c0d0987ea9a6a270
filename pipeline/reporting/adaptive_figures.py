"""The figures of the section on attackers who know the defense."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from pipeline.reporting.formats import NORMS
from pipeline.reporting.style import COLORS, new_figure

STYLES = [(color, style) for style in ("-", "--", ":") for color in COLORS]


def robust_accuracy(entries: Mapping[str, Any], labels: Mapping[str, str]) -> Figure:
    """Robust accuracy against the budget, a line per defense."""
    figure, axes = new_figure(7.4, 4.2)
    plot = axes[0, 0]
    for index, (name, entry) in enumerate(entries.items()):
        color, style = STYLES[index % len(STYLES)]
        curve = entry[entry["settings"]["norm"]]
        at = [float(epsilon) for epsilon in curve]
        values = {end: [point[end] for point in curve.values()] for end in ("value", "low", "high")}
        plot.plot(at, values["value"], color=color, linestyle=style, marker=".", label=labels[name])
        beside = [x * 1.012 ** (index - len(entries) / 2) for x in at[1:]]
        plot.vlines(beside, values["low"][1:], values["high"][1:], color=color, linestyle=style, alpha=0.4, linewidth=1)
    settings = next(iter(entries.values()))["settings"]
    plot.axvline(settings["budget"], color="#999999", linestyle=":")
    small = min(epsilon for entry in entries.values() for epsilon in entry["settings"]["epsilons"])
    plot.set_xscale("symlog", linthresh=small, linscale=0.5)
    ticks = sorted({0.0, *(float(e) for entry in entries.values() for e in entry["settings"]["epsilons"])})
    plot.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], fontsize=7, rotation=45)
    plot.minorticks_off()
    plot.set_xlim(left=0)
    plot.set_ylim(0, 1.02)
    plot.set_xlabel(f"epsilon ({NORMS.get(settings['norm'], settings['norm'])})")
    plot.set_ylabel("robust accuracy")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, handlelength=4)
    return figure


def shortest(entries: Mapping[str, Any], labels: Mapping[str, str]) -> Figure:
    """The median L2 norm that an attack on each defense needed, a bar per defense."""
    figure, axes = new_figure(7.4, 0.9 + 0.26 * len(entries))
    plot = axes[0, 0]
    for position, entry in enumerate(found["l2_median"] for found in entries.values()):
        if entry["value"] is None:
            plot.text(0, position, " none found for half of the originals", va="center", fontsize=7)
            continue
        plot.barh(position, entry["value"], color=COLORS[0])
        high = entry["value"] if entry["high"] is None else entry["high"]
        if entry["high"] is None:
            plot.text(entry["value"], position, "  interval without upper end", va="center", fontsize=7)
        plot.errorbar(
            entry["value"], position, xerr=[[entry["value"] - entry["low"]], [high - entry["value"]]], color="black",
            capsize=2, linewidth=1,
        )  # fmt: skip
    plot.set_yticks(range(len(entries)), [labels[name] for name in entries], fontsize=7)
    plot.invert_yaxis()
    plot.set_xlim(left=0)
    plot.set_xlabel("median L2 needed")
    return figure
