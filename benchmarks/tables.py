"""Tables and figures of benchmarks/README.md, from benchmarks/results; before each table what it was measured on."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from pipeline.reporting.formats import percent
from pipeline.reporting.style import COLORS, new_figure

GOAL = 1.25  # of what an epoch or an ensemble takes, over its passes alone
LOW = "ours-normalized, bfloat16"  # a system's name, here where nothing slow is imported
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


def rate(per_second: float) -> str:
    """Three digits, or all before the point."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


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


def adversarial_training_table(result: Record) -> str:
    """Markdown: a row per study and configuration of benchmarks/adversarial_training.py, the cheapest first."""
    rows = [[
        "study", "epochs", "steps of the adversary", "TRADES, weight", "averaged weights", "precision", "core-hours",
        "images", "accuracy", "under PGD", "under margins too",
    ]]  # fmt: skip
    for study, configurations in result.items():
        for record in sorted(configurations.values(), key=lambda record: record["core_seconds"]):
            adversary, training = record["adversary"], record["training"]
            shares = [f"{100 * record[name]:.1f} %" for name in ("accuracy", "robust_accuracy", "worst_accuracy")]
            rows.append([
                study, f"{training['epochs']}", f"{adversary['steps']}", f"{adversary['trades'] or ''}",
                f"{training['averaging'] or ''}", training["precision"], f"{record['core_seconds'] / 3600:.2f}",
                f"{record['images']:,}", *shares,
            ])  # fmt: skip
    some = next(iter(next(iter(result.values())).values()))
    return measured(some) + markdown(rows)


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
