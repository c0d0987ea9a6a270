"""Tables and figures of benchmarks/README.md, from benchmarks/results; before each table what it was measured on."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from pipeline.reporting.formats import percent
from pipeline.reporting.style import COLORS, new_figure

GOAL = 1.25  # of what an epoch or an ensemble takes, over its passes alone
DEAREST = 10  # stages that have a row of their own
ENOUGH = 0.999  # share of fooled images from which a configuration counts
MARKERS = "osD^vP*X<>"
Record = Mapping[str, Any]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the header."""
    header, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rest))


def measured(record: Record, *more: str) -> str:
    """The line before a table: device and versions, and what else it was measured with."""
    versions = [f"PyTorch {record['torch']}"]
    versions += [f"{name} {record[key]}" for name, key in (("DVC", "dvc"), ("Python", "python")) if key in record]
    versions += [f"{name} {number}" for name, number in record.get("peers", {}).items()]
    return f"*{', '.join([record['device'], *versions, *more])}.*\n\n"


def speeds_table(records: Sequence[Record]) -> str:
    """Markdown: a row per study and attack, from the records of benchmarks/attacks.py."""
    header = ["study", "attack", "images/s", "passes per image", "passes/s", "fooled", "median L2", "peak memory"]
    rows = [header]
    for record in records:
        rows.append(
            [
                record["study"],
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
    return measured(first, f"{first['images']} images each") + markdown(rows)


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


def best_table(records: Sequence[Record], *, ours_first: bool) -> str:
    """Markdown: each configuration on our front, or the peers', beside the other side's fastest no longer."""
    sides = ["ours", "images/s", "mean L2"], ["peer", "images/s", "mean L2"]
    header = ["study", *(cell for side in (sides if ours_first else sides[::-1]) for cell in side), "ours is faster"]
    rows = [header]
    chosen = [r for r in records if r["comparison"] == "best" and r["success_rate"] >= ENOUGH]
    for study in dict.fromkeys(record["study"] for record in chosen):
        here = [record for record in chosen if record["study"] == study]
        leading = [record for record in here if record["system"].startswith("ours") == ours_first]
        others = [record for record in here if record["system"].startswith("ours") != ours_first]
        for record in front(leading):
            rivals = [other for other in others if other["l2_mean"] <= record["l2_mean"]]
            rival = max(rivals, key=lambda r: r["images_per_second"], default=None)
            mine, peer = (record, rival) if ours_first else (rival, record)
            rows.append([study, *_cells(record), *_cells(rival), _times(mine, peer)])
    return measured(chosen[0], f"{chosen[0]['pairs']} pairs of image and target") + markdown(rows)


def _cells(record: Record | None) -> list[str]:
    if record is None:
        return ["none is as short", "", ""]
    about = f"{record['system']}, {_parameters(record)}"
    return [about, _rate(record), f"{record['l2_mean']:.4g}"]


def _rate(record: Record) -> str:
    return rate(record["images_per_second"])


def rate(per_second: float) -> str:
    """Three digits, or all before the point."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def _times(mine: Record | None, peer: Record | None) -> str:
    return f"{mine['images_per_second'] / peer['images_per_second']:.1f} times" if mine and peer else ""


def generation_figure(records: Sequence[Record]) -> Figure:
    """images/s against mean L2, every configuration that fools enough; a line along each system's own front."""
    chosen = [record for record in records if record["comparison"] == "best" and record["success_rate"] >= ENOUGH]
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


def ceiling_table(result: Record) -> str:
    """Markdown: the fastest bare passes of each study's classifier, and the engine beside them."""
    header = [
        "study", "fastest bare passes/s", "with", "engine, passes/s", "share", "passes per image", "needed",
        "model", "bookkeeping", "host transfers", "writing and margins",
    ]  # fmt: skip
    rows = [header]
    for record in result["engine"]:
        best, spent = record["best"], record["seconds"]
        total = sum(spent.values())
        rows.append(
            [
                record["study"],
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
    return measured(result) + markdown(rows)


def convergence_table(result: Record) -> str:
    """Markdown: a row per attack, from the result of benchmarks/convergence.py; passes beside the first's."""
    first = result["records"][0]
    rows = [["attack", "steps", "runs", "passes", "of the first's", "seconds", "robust accuracy"]]
    for record in result["records"]:
        steps = f"{record['steps']}" + (f", queries {record['queries']:,}" if "queries" in record else "")
        share = f"{100 * record['passes'] / first['passes']:.1f} %"
        cells = [record["attack"], steps, str(record.get("restarts", ""))]
        rows.append(
            [*cells, f"{record['passes']:,}", share, f"{record['seconds']:g}", f"{100 * record['robust']:.1f} %"]
        )
    where = f"{result['study']}, {result['norm']} {result['epsilon']:g}, {result['originals']} originals"
    return measured(result, where, f"clean accuracy {100 * result['clean']:.1f} %", "one core") + markdown(rows)


def gac_epochs_table(records: Sequence[Record]) -> str:
    """Markdown: a row per family of the GAC, what an epoch takes beside its passes alone."""
    header = ["study", "family", "images", "epoch, s", "its passes alone, s", "ratio"]
    rows = [header]
    for r in records:
        cells = [f"{r['images']:,}", f"{r['epoch_seconds']:.2f}", f"{r['passes_seconds']:.2f}", _ratio(r["ratio"])]
        rows.append([r["study"], r["family"].replace("_", " "), *cells])
    return measured(records[0]) + markdown(rows)


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" + (": missed" if ratio > GOAL else "")


def ensemble_table(result: Record) -> str:
    """Markdown: what the dropout ensemble takes beside as many passes of the bare model."""
    header = ["study", "images", "passes", "ensemble, s", "bare passes, s", "ratio"]
    cells = [f"{result[key]:g}" for key in ("passes", "ensemble_seconds", "bare_passes_seconds")]
    row = [result["study"], f"{result['images']:,}", *cells, _ratio(result["ratio"])]
    return measured(result) + markdown([header, row])


def scaling_table(result: Record) -> str:
    """Markdown: seconds and peak memory of each stage by the number of images."""
    header = ["study", "images", *(f"{stage}: s, MiB" for stage in ("generate", "measure", "evaluate"))]
    rows = [header]
    for study, count in dict.fromkeys((run["study"], run["images"]) for run in result["runs"]):
        here = {r["stage"]: r for r in result["runs"] if (r["study"], r["images"]) == (study, count)}
        cells = [f"{here[s]['seconds']:g}, {here[s]['peak_memory_mib']:,}" for s in ("generate", "measure", "evaluate")]
        rows.append([study, f"{count:,}", *cells])
    lines = {}
    for run in result["runs"]:
        lines.setdefault((run["study"], run["stage"]), []).append(run)
    grown = [
        max(line, key=_images)["peak_memory_mib"] / min(line, key=_images)["peak_memory_mib"] for line in lines.values()
    ]
    words = f"From the fewest images to the most, peak memory grows {min(grown):.2f} to {max(grown):.2f} times."
    return measured(result) + markdown(rows) + f"\n\n{words}"


def _images(run: Record) -> int:
    return int(run["images"])


def scaling_figure(result: Record) -> Figure:
    """Time and peak memory against the number of images."""
    figure, axes = new_figure(7.4, 3.2, 1, 2)
    lines = dict.fromkeys((run["study"], run["stage"]) for run in result["runs"])
    for color, (study, stage) in zip(COLORS, lines, strict=False):
        runs = [r for r in result["runs"] if (r["study"], r["stage"]) == (study, stage)]
        for plot, key in zip(axes[0], ("seconds", "peak_memory_mib"), strict=True):
            at = [r["images"] for r in runs]
            plot.plot(at, [r[key] for r in runs], color=color, marker="o", markersize=3, label=f"{study}: {stage}")
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


def start_up_table(result: Record) -> str:
    """Markdown: what a study and its parts take, beside what they are to take at most."""
    rows = [["what", "seconds", "at most"]]
    rows.append([f"{result['study']} from nothing, {result['entries']} stages", f"{result['seconds']:g}", "180"])
    lock = f"DVC's own part of it: commands that only copy finished outputs; lock of {result['lock_kib']} KiB"
    rows.append([lock, f"{result['dvc_seconds']:g}", "30"])
    rows.append([f"{result['study']} once more, nothing to do", f"{result['no_op_seconds']:g}", ""])
    for name, seconds in result["no_op"].items():
        most = {"everything": "5", "digits": "3"}.get(name, "")
        rows.append([f"{name}, nothing to do", f"{seconds:g}", most])
    for row in rows[1:]:
        if row[2] and float(row[1]) > float(row[2]):
            row[2] += ": missed"
    return measured(result) + markdown(rows)


def stages_table(result: Record) -> str:
    """Markdown: what each stage took, as it says itself, and what importing its script takes."""
    took = {entry["stage"]: entry for entry in result["stages"]}
    rows = [["stage", "runs", "seconds in all", "peak memory", "import, s", "with PyTorch"]]
    imported = {entry["stage"]: entry for entry in result["imports"]}
    for name in [*took, *(name for name in imported if name not in took)]:
        cells = ["", "", ""]
        if name in took:
            entry = took[name]
            cells = [str(entry["runs"]), f"{entry['seconds']:g}", f"{entry['peak_memory_mib']:,} MiB"]
        if name in imported:
            cells += [f"{imported[name]['seconds']:g}", "yes" if imported[name]["torch"] else "no"]
        rows.append([name, *cells, *[""] * (5 - len(cells))])
    return measured(result, f"{result['study']} from nothing") + markdown(rows)


def core_seconds_table(result: Record) -> str:
    """Markdown: the DEAREST stages, then the others, then all, at an earlier commit and now."""
    stages = sorted(result["stages"], key=lambda stage: -stage["before"])
    parts = [(stage["stage"], [stage]) for stage in stages[:DEAREST]]
    parts += [(f"the other {len(stages) - DEAREST}", stages[DEAREST:])] if len(stages) > DEAREST else []
    rows = [["stage", "before, core-seconds", "now", "of before", "writes the same bytes"]]
    for name, some in [*parts, ("all", stages)]:
        before, now = (sum(stage[when] for stage in some) for when in ("before", "now"))
        same = sum(stage["same_bytes"] for stage in some)
        words = f"{same} of {len(some)}" if len(some) > 1 else "yes" if same else "no"
        rows.append([name, f"{before:,.0f}", f"{now:,.0f}", f"{100 * now / before:.0f} %", words])
    return measured(result, f"{result['study']}, before: {result['before']}") + markdown(rows)
