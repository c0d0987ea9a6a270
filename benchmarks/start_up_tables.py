"""Tables of benchmarks/README.md on what stages take, and DVC beside them."""

from collections.abc import Sequence

from benchmarks.tables import Record, markdown, measured
from pipeline.side_by_side import SIDE_BY_SIDE

DEAREST = 10  # stages that have a row of their own
LONG = 60  # seconds: shorter stages are mostly imports


def start_up_table(result: Record) -> str:
    """Markdown: what a study and its parts take, beside what they are to take at most."""
    rows = [["what", "seconds", "at most"]]
    rows.append([f"{result['study']} from nothing, {result['entries']} stages", f"{result['seconds']:g}", "180"])
    own = sum(stage["seconds"] for stage in result["stages"])
    rows.append(["what its stages say they take, once imported", f"{own:.3g}", ""])
    lock = f"DVC's own part of it: commands that only copy finished outputs; lock of {result['lock_kib']} KiB"
    rows.append([lock, f"{result['dvc_seconds']:g}", "30"])
    rows.append([f"{result['study']} once more, nothing to do", f"{result['no_op_seconds']:g}", ""])
    for name, seconds in result["no_op"].items():
        most = {"everything": "5", "digits": "3"}.get(name, "")
        words = "a plain `dvc repro` (digits, the comparison of studies)" if name == "everything" else name
        rows.append([f"{words}, nothing to do", f"{seconds:g}", most])
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
    rows = [["stage", "core-seconds before", f"at {result['now']}", "of before", "writes the same bytes"]]
    for name, some in [*parts, ("all", stages)]:
        before, now = (sum(stage[when] for stage in some) for when in ("before", "now"))
        same = sum(stage["same_bytes"] for stage in some)
        words = f"{same} of {len(some)}" if len(some) > 1 else "yes" if same else "no"
        rows.append([name, f"{before:,.0f}", f"{now:,.0f}", f"{100 * now / before:.0f} %", words])
    return measured(result, f"{result['study']}, before: {result['before']}") + markdown(rows)


def stage_costs_table(results: Sequence[Record]) -> str:
    """Markdown: of each study what its stages took, and how busy they kept their workers' cores."""
    rows = [["study", "stage", "runs", "seconds", "core-seconds", "cores busy", "peak memory"]]
    for result in results:
        stages = [stage for stage in result["stages"] if stage["stage"] != SIDE_BY_SIDE]
        whole = [stage for stage in result["stages"] if stage["stage"] == SIDE_BY_SIDE]
        total = {key: sum(stage[key] for stage in stages) for key in ("runs", "cut_off", "seconds", "core_seconds")}
        known = all(stage["available"] is not None for stage in stages)
        total["available"] = sum(stage["available"] for stage in stages) if known else None
        total["peak_mib"] = max(stage["peak_mib"] for stage in stages)
        for entry in [*stages, {"stage": "all", **total}, *whole]:
            busy = ""
            if entry["seconds"] >= LONG and entry["available"]:
                busy = f"{100 * entry['core_seconds'] / entry['available']:.0f} %"
            numbers = [f"{entry[key]:,.0f}" for key in ("seconds", "core_seconds")]
            runs = f"{entry['runs']}" + (f" and {entry['cut_off']} cut off" if entry["cut_off"] else "")
            rows.append([result["study"], entry["stage"], runs, *numbers, busy])
            rows[-1].append(f"{entry['peak_mib']:,} MiB")
    return measured(results[0]) + markdown(rows)
