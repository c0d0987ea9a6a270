"""The figures of the section on attackers who know the defense."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from pipeline.reporting.formats import NORMS
from pipeline.reporting.style import COLORS, new_figure

STYLES = [(color, style) for style in ("-", "--", ":") for color in COLORS]


def robust_accuracy(entries: Mapping[str, Any], labels: Mapping[str, str]) -> Figure:
    """Robust accuracy against the budget, a line per defense."""
    figure, axes = new_figure(7.4, 3.4 + 0.09 * len(entries))
    plot = axes[0, 0]
    for index, (name, entry) in enumerate(entries.items()):
        color, style = STYLES[index % len(STYLES)]
        curve = entry[entry["settings"]["norm"]]
        at = [float(epsilon) for epsilon in curve]
        values = {end: [point[end] for point in curve.values()] for end in ("value", "low", "high")}
        plot.plot(at, values["value"], color=color, linestyle=style, marker=".", label=labels[name])
        plot.vlines(at, values["low"], values["high"], color=color, alpha=0.4, linewidth=1.5)
    settings = next(iter(entries.values()))["settings"]
    plot.axvline(settings["budget"], color="#999999", linestyle=":")
    small = min(epsilon for entry in entries.values() for epsilon in entry["settings"]["epsilons"])
    plot.set_xscale("symlog", linthresh=small, linscale=0.5)
    ticks = sorted({0.0, *(float(e) for entry in entries.values() for e in entry["settings"]["epsilons"])})
    plot.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], fontsize=7, rotation=45)
    plot.minorticks_off()
    plot.set_xlim(left=0)
    plot.set_ylim(0, 1.02)
    norm = NORMS.get(settings["norm"], settings["norm"])
    plot.set_xlabel(f"epsilon ({norm}); the axis is linear up to {small:.3g}, logarithmic above")
    plot.set_ylabel("robust accuracy")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, handlelength=4)
    return figure


def broken(entries: Mapping[str, Any], labels: Mapping[str, str]) -> Figure:
    """The share of originals that is wrong as it is or was broken within an L2 norm, a line per defense."""
    figure, axes = new_figure(7.4, 3.4 + 0.09 * len(entries))
    plot = axes[0, 0]
    longest = max(entry["l2_curve"]["l2"][-1] for entry in entries.values())
    for index, (name, entry) in enumerate(entries.items()):
        color, style = STYLES[index % len(STYLES)]
        at, shares = entry["l2_curve"]["l2"], entry["l2_curve"]["broken"]
        plot.step([*at, longest], [*shares, shares[-1]], where="post", color=color, linestyle=style, label=labels[name])
    plot.axhline(0.5, color="#bbbbbb", linestyle=":", linewidth=0.8)
    plot.set_xlim(0, longest or 1)
    plot.set_ylim(0, 1.02)
    plot.set_xlabel("L2 norm of the perturbation")
    plot.set_ylabel("share of originals wrong")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, handlelength=4)
    return figure
