"""Tables and figures of the README, from benchmarks/results."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from pipeline.reporting.outcomes import WORDS
from pipeline.reporting.readme import markdown
from pipeline.reporting.section import percent
from pipeline.reporting.style import COLORS, new_figure

ENOUGH = 0.999  # share of fooled images from which a configuration counts
MARKERS = "osD^vP*X<>"
Record = Mapping[str, Any]


def speeds_table(records: Sequence[Record]) -> str:
    """Markdown: a row per dataset and attack, from the records of benchmarks/attacks.py."""
    header = ["dataset", "attack", "images/s", "passes per image", "passes/s", "fooled", "median L2", "peak memory"]
    rows = [header, ["---"] * len(header)]
    for record in records:
        rows.append(
            [
                record["dataset"],
                record["attack"],
                f"{record['images_per_second']:,.0f}",
                f"{record['passes_per_image']:g}",
                f"{record['passes_per_second']:,}",
                percent(record["success_rate"]),
                "" if record["l2_median"] is None else f"{record['l2_median']:g}",
                f"{record['peak_memory_mib']:,} MiB",
            ]
        )
    first = records[0]
    return f"{markdown(rows)}\n\n{first['images']} images each; {_machine(first)}."


def same_rule_table(records: Sequence[Record]) -> str:
    """Markdown: every system on the same rule, each with its faster batch size, and how many times faster ours is."""
    header = [
        "dataset", "system", "steps", "images/s", "ours is faster", "passes per image", "fooled", "mean L2",
        "peak memory",
    ]  # fmt: skip
    rows = [header, ["---"] * len(header)]
    for dataset in dict.fromkeys(record["dataset"] for record in records):
        fastest: dict[str, Record] = {}
        for record in records:
            if (record["dataset"], record["comparison"]) != (dataset, "same_rule"):
                continue
            kept = fastest.get(record["system"])
            if kept is None or record["images_per_second"] > kept["images_per_second"]:
                fastest[record["system"]] = record
        ours = next(record for name, record in fastest.items() if name.startswith("ours"))
        for name, record in fastest.items():
            rows.append(
                [
                    dataset,
                    name,
                    f"{record['parameters'].get('steps', 'to the first success')}",
                    _rate(record),
                    "" if record is ours else f"{ours['images_per_second'] / record['images_per_second']:.1f} times",
                    f"{record['passes_per_image']:g}",
                    percent(record["success_rate"], 2),
                    f"{record['l2_mean']:.3g}",
                    f"{record['peak_memory_mb']:,} MiB",
                ]
            )
    first = records[0]
    return f"{markdown(rows)}\n\n{first['pairs']} pairs of image and target; {_machine(first)}."


def front(records: Sequence[Record]) -> list[Record]:
    """Configurations that fool enough, and that no other of these beats in both speed and mean L2; fastest first."""
    good = [record for record in records if record["success_rate"] >= ENOUGH]
    kept: list[Record] = []
    for record in sorted(good, key=lambda r: -r["images_per_second"]):
        if not kept or record["l2_mean"] < kept[-1]["l2_mean"]:
            kept.append(record)
    return kept


def best_table(records: Sequence[Record], *, ours_first: bool) -> str:
    """Markdown: each configuration on our front, or the peers', beside the other side's fastest no longer."""
    sides = ["ours", "images/s", "mean L2"], ["peer", "images/s", "mean L2"]
    header = ["dataset", *(cell for side in (sides if ours_first else sides[::-1]) for cell in side), "ours is faster"]
    rows = [header, ["---"] * len(header)]
    chosen = [r for r in records if r["comparison"] == "best" and r["success_rate"] >= ENOUGH]
    for dataset in dict.fromkeys(record["dataset"] for record in chosen):
        here = [record for record in chosen if record["dataset"] == dataset]
        leading = [record for record in here if record["system"].startswith("ours") == ours_first]
        others = [record for record in here if record["system"].startswith("ours") != ours_first]
        for record in front(leading):
            rivals = [other for other in others if other["l2_mean"] <= record["l2_mean"]]
            rival = max(rivals, key=lambda r: r["images_per_second"], default=None)
            mine, peer = (record, rival) if ours_first else (rival, record)
            rows.append([dataset, *_cells(record), *_cells(rival), _times(mine, peer)])
    return markdown(rows)


def _cells(record: Record | None) -> list[str]:
    if record is None:
        return ["none is as short", "", ""]
    about = f"{record['system']}, {_parameters(record)}"
    return [about, _rate(record), f"{record['l2_mean']:.4g}"]


def _rate(record: Record) -> str:
    rate = record["images_per_second"]
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _times(mine: Record | None, peer: Record | None) -> str:
    return f"{mine['images_per_second'] / peer['images_per_second']:.1f} times" if mine and peer else ""


def generation_figure(records: Sequence[Record]) -> Figure:
    """images/s against mean L2, every configuration that fools enough; a line along each system's own front."""
    chosen = [record for record in records if record["comparison"] == "best" and record["success_rate"] >= ENOUGH]
    datasets = list(dict.fromkeys(record["dataset"] for record in chosen))
    systems = sorted({record["system"] for record in chosen}, key=lambda name: (not name.startswith("ours"), name))
    figure, axes = new_figure(4.6 * len(datasets), 4.6, 1, len(datasets))
    for plot, dataset in zip(axes[0], datasets, strict=True):
        for index, system in enumerate(systems):
            points = [r for r in chosen if (r["dataset"], r["system"]) == (dataset, system)]
            color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
            line = front(points)
            plot.plot(
                [r["l2_mean"] for r in line], [r["images_per_second"] for r in line], color=color, marker=marker,
                markersize=6 if system.startswith("ours") else 4, label=system,
                linewidth=2 if system.startswith("ours") else 0.8,
            )  # fmt: skip
            rest = [r for r in points if r not in line]
            plot.plot(
                [r["l2_mean"] for r in rest], [r["images_per_second"] for r in rest], color=color, marker=marker,
                markersize=2.5, linestyle="none", alpha=0.4,
            )  # fmt: skip
        plot.set_yscale("log")
        plot.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plot.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        plot.minorticks_off()
        plot.set_xlabel("mean L2 of the perturbations")
        plot.set_title(dataset)
    axes[0, 0].set_ylabel("images/s")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def ceiling_table(result: Record) -> str:
    """Markdown: the fastest bare passes of each dataset's classifier, and the engine beside them."""
    header = [
        "dataset", "fastest bare passes/s", "with", "engine, passes/s", "share", "passes per image", "needed",
        "model", "bookkeeping", "host transfers", "writing and margins",
    ]  # fmt: skip
    rows = [header, ["---"] * len(header)]
    for record in result["engine"]:
        best, spent = record["best"], record["seconds"]
        total = sum(spent.values())
        rows.append(
            [
                record["dataset"],
                f"{record['ceiling']:,}",
                f"{best['memory_format']}, batch {best['batch_size']}, {best['threads']} threads"
                + (", batch norm folded" if best["folded"] else ""),
                f"{record['passes_per_second']:,}",
                percent(record["share_of_ceiling"], 0),
                f"{record['passes_per_image']:g}",
                f"{record['needed_passes_per_image']:g}",
                *(
                    percent(spent[key] / total)
                    for key in ("model", "bookkeeping", "host_transfers", "writing_and_margins")
                ),
            ]
        )
    return f"{markdown(rows)}\n\n{_machine(result)}."


def gac_epochs_table(records: Sequence[Record]) -> str:
    """Markdown: a row per version of the GAC, what an epoch takes beside its passes alone."""
    header = ["dataset", "version", "images", "epoch, s", "its passes alone, s", "ratio"]
    rows = [header, ["---"] * len(header)]
    for r in records:
        cells = [f"{r['images']:,}", f"{r['epoch_seconds']:.2f}", f"{r['passes_seconds']:.2f}", f"{r['ratio']:.2f}"]
        rows.append([r["dataset"], WORDS[r["version"]], *cells])
    return f"{markdown(rows)}\n\n{_machine(records[0])}."


def ensemble_table(result: Record) -> str:
    """Markdown: what the dropout ensemble takes beside as many passes of the bare model."""
    header = ["dataset", "images", "passes", "ensemble, s", "bare passes, s", "ratio"]
    cells = [f"{result[key]:g}" for key in ("passes", "ensemble_seconds", "bare_passes_seconds")]
    row = [result["dataset"], f"{result['images']:,}", *cells, f"{result['ratio']:.2f}"]
    return f"{markdown([header, ['---'] * len(header), row])}\n\n{_machine(result)}."


def scaling_table(result: Record) -> str:
    """Markdown: seconds and peak memory of each stage by the number of images."""
    header = ["dataset", "images", *(f"{stage}: s, MiB" for stage in ("generate", "measure", "evaluate"))]
    rows = [header, ["---"] * len(header)]
    for dataset, count in dict.fromkeys((run["dataset"], run["images"]) for run in result["runs"]):
        here = {r["stage"]: r for r in result["runs"] if (r["dataset"], r["images"]) == (dataset, count)}
        cells = [f"{here[s]['seconds']:g}, {here[s]['peak_memory_mib']:,}" for s in ("generate", "measure", "evaluate")]
        rows.append([dataset, f"{count:,}", *cells])
    return f"{markdown(rows)}\n\n{_machine(result)}."


def scaling_figure(result: Record) -> Figure:
    """Time and peak memory against the number of images."""
    figure, axes = new_figure(7.4, 3.2, 1, 2)
    lines = dict.fromkeys((run["dataset"], run["stage"]) for run in result["runs"])
    for color, (dataset, stage) in zip(COLORS, lines, strict=False):
        runs = [r for r in result["runs"] if (r["dataset"], r["stage"]) == (dataset, stage)]
        for plot, key in zip(axes[0], ("seconds", "peak_memory_mib"), strict=True):
            at = [r["images"] for r in runs]
            plot.plot(at, [r[key] for r in runs], color=color, marker="o", markersize=3, label=f"{dataset}: {stage}")
            plot.set_xscale("log")
            plot.set_xlabel("images")
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylabel("seconds")
    axes[0, 1].set_ylabel("peak memory, MiB")
    axes[0, 1].set_ylim(bottom=0)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _parameters(record: Record) -> str:
    names = {"max_steps": None, "step_size": "step size"}
    words = [
        f"{names.get(name, name.replace('_', ' '))} {value:g}"
        for name, value in record["parameters"].items()
        if names.get(name, name)
    ]
    return ", ".join(words)


def _machine(record: Record) -> str:
    return f"{record['device']}, PyTorch {record['torch']}"
