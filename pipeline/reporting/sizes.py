"""The report's section on classifiers of several sizes, and on transfer between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.formats import number, percent
from pipeline.reporting.heatmaps import heatmap
from pipeline.reporting.section import Section
from pipeline.reporting.style import LINES, label_ticks, new_figure
from pipeline.study_blocks import PAPER_ATTACKS


@dataclass(frozen=True)
class SizeResults:
    """What was measured on classifiers of several sizes: a frame per file of `data/sizes/<study>`."""

    sizes: pd.DataFrame
    examples: pd.DataFrame
    transfer: pd.DataFrame


def sizes_section(metrics: Mapping[str, Any], results: SizeResults) -> Section:
    """How depth and width of a classifier change what fools it, and whether that fools another one."""
    models = metrics["sizes"]["models"]
    rows = [
        [
            name, str(m["depth"]), str(m["width"]), f"{m['parameters']:,}", percent(m["test_accuracy"]),
            percent(m["success_rate"]), number(m["l2_median"]), f"{m['steps_mean']:.1f}", number(m["sensitivity_median"]),
        ]
        for name, m in models.items()
    ]  # fmt: skip
    return Section(
        "sizes",
        {
            "rows": rows,
            "epochs": next(iter(models.values()))["epochs"],
            "has_twin": {"twin", "standard"} <= set(models),
            "transfer": averages(metrics["sizes"]["transfer"]),
        },
        {"size_curves": size_curves(results), "transfer": transfer(results)},
    )


def averages(transfer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By attack, means over classifiers: `own`, the target seen by the one attacked; `target`, `error` by the others.

    `target_range` and `error_range`: of the others the least and the most. transfer : attack -> made on -> tried on ->
    outcome -> {value, low, high}. Attacks without another are left out.
    """
    found = {}
    for attack, made in transfer.items():
        own = [made[name][name]["target"]["value"] for name in made]
        others = [tried[other] for name, tried in made.items() for other in tried if other != name]
        if others:
            found[attack] = {"own": sum(own) / len(own)}
            for outcome in ("target", "error"):
                values = [entry[outcome]["value"] for entry in others]
                found[attack] |= {
                    outcome: sum(values) / len(values),
                    f"{outcome}_range": (min(values), max(values)),
                }
    return found


def size_curves(results: SizeResults) -> Figure:
    """What fools each classifier, against its number of parameters."""
    figure, axes = new_figure(9.0, 3.0, 1, 3)
    minimal = results.examples.query("attack == 'minimal' and is_adversarial")
    sizes = results.sizes.sort_values("parameters")
    for plot, (column, words) in zip(
        axes[0], {"l2": "L2 norm", "steps": "steps", "sensitivity": "sensitivity"}.items(), strict=True
    ):
        for (color, _), (_, model) in zip(LINES, sizes.iterrows(), strict=False):
            values = minimal.loc[minimal["model"] == model["model"], column]
            middle = values.mean() if column == "steps" else values.median()
            low, high = values.quantile([0.25, 0.75])
            plot.plot([model["parameters"]] * 2, [low, high], color=color, linewidth=1)
            plot.plot(model["parameters"], middle, "o", color=color, label=f"{model['model']} (depth {model['depth']})")
        plot.set_xscale("log")
        label_ticks(plot, _round_sizes(*plot.get_xlim()))
        plot.set_xlabel("parameters")
        plot.set_ylabel(f"{'mean' if column == 'steps' else 'median'} {words}")
        plot.set_ylim(bottom=0)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7, title_fontsize=7,
        title="depth: convolutions (without any: hidden layers); the last, linear layer isn't counted",
    )  # fmt: skip
    return figure


def _round_sizes(low: float, high: float) -> list[float]:
    """1, 2 and 5 times a power of ten within these; where they are fewer than three, equal steps."""
    powers = [number * 10**power for power in range(2, 9) for number in (1, 2, 5)]
    within = [size for size in powers if low <= size <= high]
    steps = MaxNLocator(nbins=4).tick_values(low, high)
    return within if len(within) > 2 else [step for step in steps if low <= step <= high]


def transfer(results: SizeResults) -> Figure:
    """Success of one classifier's images (rows) on another (columns), as error and as the wanted target."""
    names = list(results.sizes["model"])
    figure, axes = new_figure(8.6, 7.2, 2, 2)
    for line, attack in zip(axes, PAPER_ATTACKS, strict=True):
        rows = results.transfer[results.transfer["attack"] == attack]
        for plot, outcome in zip(line, ("target", "error"), strict=True):
            matrix = rows.pivot(index="made_on", columns="tried_on", values=outcome).loc[names, names].to_numpy()
            heatmap(
                plot,
                matrix,
                names,
                f"{attack}: {outcome}",
                low=0,
                high=1,
                row_names=names,
                rows_are="made on",
                columns_are="tried on",
                values_are="share of images",
            )
    return figure
