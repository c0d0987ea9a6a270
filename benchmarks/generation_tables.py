"""Tables and the figure of benchmarks/README.md on generation: the engine beside the attack libraries."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from benchmarks.tables import Record, markdown, measured, rate
from pipeline.reporting.formats import percent
from pipeline.reporting.style import COLORS, new_figure

ENOUGH = 0.999  # share of fooled images from which a configuration counts
MARKERS = "osD^vP*X<>"


def same_rule_table(records: Sequence[Record]) -> str:
    """Markdown: every system on the same rule, each with its faster batch size, and how many times faster ours is."""
    header = [
        "study", "system", "steps", "images/s", "ours is faster", "passes per image", "fooled", "mean L2",
        "peak memory",
    ]  # fmt: skip
    rows = [header]
    for study in dict.fromkeys(record["study"] for record in records):
        fastest: dict[str, Record] = {}
        for record in records:
            if (record["study"], record["comparison"]) != (study, "same_rule"):
                continue
            kept = fastest.get(record["system"])
            if kept is None or record["images_per_second"] > kept["images_per_second"]:
                fastest[record["system"]] = record
        for name, record in fastest.items():
            rows.append(
                [
                    study,
                    name,
                    f"{record['parameters'].get('steps', 'to the first success')}",
                    _rate(record),
                    ours_is_faster(fastest, name),
                    f"{record['passes_per_image']:g}",
                    percent(record["success_rate"], 2),
                    f"{record['l2_mean']:.3g}",
                    f"{record['peak_memory_mb']:,} MiB",
                ]
            )
    first = records[0]
    return measured(first, f"{first['pairs']} pairs of image and target") + markdown(rows)


def ours_is_faster(fastest: Mapping[str, Record], name: str) -> str:
    """How many times faster than a peer the engine is, in float32 and, where that was measured, in bfloat16."""
    if name.startswith("ours"):
        return ""
    ours = sorted((other for other in fastest if other.startswith("ours")), key=lambda other: "bfloat16" in other)
    ratios = [fastest[other]["images_per_second"] / fastest[name]["images_per_second"] for other in ours]
    return ", in bfloat16 ".join(f"{ratio:.1f} times" for ratio in ratios)


def front(records: Sequence[Record]) -> list[Record]:
    """Configurations that fool enough, and that no other of these beats in both speed and mean L2; fastest first."""
    good = [record for record in records if record["success_rate"] >= ENOUGH]
    kept: list[Record] = []
    for record in sorted(good, key=lambda r: -r["images_per_second"]):
        if not kept or record["l2_mean"] < kept[-1]["l2_mean"]:
            kept.append(record)
    return kept


def paper_table(records: Sequence[Record], metrics: Mapping[str, Any]) -> str:
    """Markdown: the paper's steps of every size, the size that each study's sets are made with marked."""
    return best_table(records, leading="ours", system="ours", used=_used(metrics))


def of_the_studies(records: Sequence[Record], metrics: Mapping[str, Any]) -> dict[str, float]:
    """By study how many times as fast its own sets are made as by the fastest peer with no longer perturbations."""
    used, found = _used(metrics), {}
    chosen = _good_enough(records)
    for record in chosen:
        study = record["study"]
        if record["system"] == "ours" and record["parameters"].get("step_size") == used.get(study):
            peers = (r for r in chosen if r["study"] == study and not r["system"].startswith("ours"))
            if rival := _fastest_no_longer(record, peers):
                found[study] = record["images_per_second"] / rival["images_per_second"]
    return found


def _good_enough(records: Sequence[Record]) -> list[Record]:
    """Of each system at its best the configurations that fool enough."""
    return [record for record in records if record["comparison"] == "best" and record["success_rate"] >= ENOUGH]


def _fastest_no_longer(record: Record, others: Iterable[Record]) -> Record | None:
    """Of the others whose perturbations are no longer than this one's the fastest, if there is any."""
    rivals = (other for other in others if other["l2_mean"] <= record["l2_mean"])
    return max(rivals, key=lambda rival: rival["images_per_second"], default=None)


def _used(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {study: found["attacks"]["minimal"]["params"]["step_size"] for study, found in metrics.items()}


def best_table(
    records: Sequence[Record],
    *,
    leading: Literal["ours", "peers"],
    system: str = "",
    used: Mapping[str, float] | None = None,
) -> str:
    """Markdown: each configuration on our front, or the peers', beside the other side's fastest no longer.

    system : each of its configurations instead. used : step sizes by study, to be marked.
    """
    ours_first = leading == "ours"
    sides = ["ours", "images/s", "mean L2"], ["peer", "images/s", "mean L2"]
    header = ["study", *(cell for side in (sides if ours_first else sides[::-1]) for cell in side), "ours is faster"]
    rows = [header]
    chosen = _good_enough(records)
    for study in dict.fromkeys(record["study"] for record in chosen):
        here = [record for record in chosen if record["study"] == study]
        first = [record for record in here if record["system"].startswith("ours") == ours_first]
        others = [record for record in here if record["system"].startswith("ours") != ours_first]
        for record in [one for one in first if one["system"] == system] if system else front(first):
            rival = _fastest_no_longer(record, others)
            mine, peer = (record, rival) if ours_first else (rival, record)
            rows.append([study, *_cells(record), *_cells(rival), _times(mine, peer)])
            if used and record["parameters"].get("step_size") == used.get(study):
                rows[-1][1] += " (the study's)"
    return measured(chosen[0], f"{chosen[0]['pairs']} pairs of image and target") + markdown(rows)


def _cells(record: Record | None) -> list[str]:
    if record is None:
        return ["none is as short", "", ""]
    about = f"{record['system']}, {_parameters(record)}"
    return [about, _rate(record), f"{record['l2_mean']:.4g}"]


def _rate(record: Record) -> str:
    return rate(record["images_per_second"])


def _times(mine: Record | None, peer: Record | None) -> str:
    return f"{mine['images_per_second'] / peer['images_per_second']:.1f} times" if mine and peer else ""


def generation_figure(records: Sequence[Record]) -> Figure:
    """images/s against mean L2, every configuration that fools enough; a line along each system's own front."""
    chosen = _good_enough(records)
    studies = list(dict.fromkeys(record["study"] for record in chosen))
    systems = sorted({record["system"] for record in chosen}, key=lambda name: (not name.startswith("ours"), name))
    figure, axes = new_figure(4.6 * len(studies), 4.6, 1, len(studies))
    for plot, study in zip(axes[0], studies, strict=True):
        for index, system in enumerate(systems):
            points = [r for r in chosen if (r["study"], r["system"]) == (study, system)]
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
        plot.set_title(study)
    axes[0, 0].set_ylabel("images/s")
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
