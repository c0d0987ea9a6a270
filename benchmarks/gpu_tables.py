"""Tables of benchmarks/README.md from benchmarks/results/gpu, which benchmarks/on_gpu.sh measures, and of precision."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from benchmarks.generation_tables import ours_is_faster
from benchmarks.tables import Record, markdown, measured, rate
from pipeline.reporting.formats import percent

Results = Mapping[str, Record]  # by the part's name


def tests(results: Results) -> str:
    """Markdown: what of the card's own tests passed, and the waits of the host."""
    record = results["tests"]
    rows = [["attack", "the host waits", "passes"]]
    for line in record["measured"]:
        if " waits in " in line:
            name, waits, _, _, passes, *_ = line.lstrip(".").split()
            rows.append([name, waits, passes])
    about = results.get("ceiling") or next(iter(results.values()))
    return measured(about, record["summary"].split(" in ")[0]) + markdown(rows)


def generation(results: Results) -> str:
    """Markdown: a row per set, from raw images to the file."""
    rows = [["images of", "set", "stored images/s", "seconds", "of these the attack", "share of bare passes", "fooled"]]
    rows[0] += ["mean steps", "mean L2"]
    found = [results[name] for name in ("generation_mnist", "generation_cifar10") if name in results]
    for record in found:
        for name, made in record["sets"].items():
            cells = [f"{made['images_per_second_stored']:,}", f"{made['seconds']['all']:.1f}"]
            cells += [f"{made['seconds']['attack']:.1f}", percent(made["share_of_bare_passes"], 0)]
            cells += [percent(made["success_rate"], 2), f"{made['steps_mean']:.1f}", f"{made['l2_mean']:.3g}"]
            rows.append([record["dataset"], name, *cells])
    batches = found[0]["batching"]
    more = f"batches of {batches['attack']:,}, blocks of {batches['block']:,}"
    return measured(found[0], f"{found[0]['sets']['minimal']['images']:,} images a set", more) + markdown(rows)


def ceiling(results: Results) -> str:
    """Markdown: bare passes by batch; a column per precision, order of memory and CUDA graph."""
    record = results["ceiling"]
    trials = record["bare_passes"]

    def column(trial: Record) -> str:
        graph = ", CUDA graph" if trial["cuda_graph"] else ""
        return f"{trial['precision']}, {trial['memory_format']}{graph}"

    columns = list(dict.fromkeys(map(column, trials)))
    rows = [["images of", "batch", *columns]]
    for key, group in groupby(trials, key=lambda trial: (trial["dataset"], trial["batch_size"])):
        rates = {column(trial): trial["passes_per_second"] for trial in group}
        cells = [f"{rates[name]:,}" if isinstance(rates.get(name), int) else "" for name in columns]
        rows.append([key[0], f"{key[1]:,}", *cells])
    return measured(record) + markdown(rows)


def engine(results: Results) -> str:
    """Markdown: the engine by batch and by images in a block."""
    record = results["ceiling"]
    rows = [["images of", "precision", "block", "batch", "needed passes/s", "of the best bare float32", "images/s"]]
    rows[0].append("slowest, steps")
    for trial in record["engine"]:
        if "error" in trial:
            continue
        rates = [f"{trial['needed_passes_per_second']:,}", percent(trial["share_of_best_bare"], 0)]
        rates += [f"{trial['images_per_second']:,}", f"{trial['steps_max']:,}"]
        sizes = [f"{trial['pairs']:,}", f"{trial['batch_size']:,}"]
        rows.append([trial["dataset"], trial.get("precision", "float32"), *sizes, *rates])
    return measured(record) + markdown(rows)


def peers(results: Results) -> str:
    """Markdown: the engine and the libraries, each at its faster batch; how many times faster ours is."""
    record = results["peers"]
    rows = [
        ["images of", "comparison", "system", "images/s", "ours is faster", "passes per image", "passes/s", "fooled"]
    ]
    rows[0].append("mean L2")
    good = [entry for entry in record["records"] if "error" not in entry]
    if not good:
        return f"None gave a figure: {record['records'][0]['error']}." if record["records"] else "None gave a figure."
    names = {"same_rule": "same rule", "walks": "nearest image"}
    for (study, comparison), group in groupby(good, key=lambda e: (e.get("study", e.get("dataset")), e["comparison"])):
        fastest: dict[str, Record] = {}
        for entry in sorted(group, key=lambda e: e["images_per_second"]):
            fastest[entry["system"]] = entry
        for name, entry in sorted(fastest.items(), key=lambda item: -item[1]["images_per_second"]):
            ratio = ours_is_faster(fastest, name)
            cells = [f"{entry['images_per_second']:,.0f}", ratio, f"{entry['passes_per_image']:g}"]
            cells.append(f"{entry['images_per_second'] * entry['passes_per_image']:,.0f}")
            cells += [percent(entry["success_rate"], 2), f"{entry['l2_mean']:.3g}"]
            rows.append([study, names[comparison], name, *cells])
    about = {**record, "peers": good[0].get("peers", {})}
    return measured(about, f"{good[0]['pairs']:,} pairs of image and target") + markdown(rows)


def defenses(results: Results) -> str:
    """Markdown: ensembles folded into the batch and a pass at a time."""
    record = results["defenses"]
    rows = [["images of", "what", "folded", "a pass at a time", "ratio"]]
    for key, found in record.items():
        kind, _, study = key.partition("_")
        if kind == "ensemble" and "error" not in found:
            one, two = (found["images_per_second"][name] for name in ("folded", "pass_at_a_time"))
            what = f"{found['passes']} passes over each of {found['images']:,} images, images/s"
            rows.append([study, what, f"{one:,}", f"{two:,}", f"{one / two:.2f}"])
        if kind == "adaptive" and "error" not in found:
            one, two = (found[name]["seconds"] for name in ("ensemble", "ensemble_pass_at_a_time"))
            draws = found["ensemble"]["draws"]
            what = f"{found['steps']} steps in expectation over {draws} draws, {found['originals']:,} images, seconds"
            rows.append([study, what, f"{one:g}", f"{two:g}", f"{two / one:.2f}"])
    return measured(record) + markdown(rows)


def precision(records: Sequence[Record]) -> str:
    """Markdown: float32 and bfloat16 in turns, the better turn of each; of a CPU or a GPU."""
    header = ["images of", "set", "precision", "stored images/s", "against float32", "bare passes/s", "fooled"]
    rows = [[*header, "mean steps", "mean L2", "float32 passes an image"]]
    for record in records:
        best: dict[tuple[str, str], Mapping[str, Any]] = {}
        for made in sorted(record["sets"], key=lambda made: made["images_per_second_stored"]):
            best[made["set"], made["precision"]] = made
        for kind in ("minimal", "extended"):
            plain = best[kind, "float32"]
            for name in ("float32", "bfloat16"):
                made = best[kind, name]
                ratio = made["images_per_second_stored"] / plain["images_per_second_stored"]
                cells = [rate(made["images_per_second_stored"]), "" if made is plain else f"{ratio:.2f} times"]
                cells += [f"{record['bare_passes_per_second'][name]:,}", percent(made["success_rate"], 2)]
                cells += [f"{made['steps_mean']:.2f}", f"{made['l2_mean']:.4g}", f"{made['asked_per_image']:g}"]
                rows.append([record["dataset"], kind, name, *cells])
    first = records[0]
    units = [", ".join(first["bfloat16"]) or "no bfloat16"] if "bfloat16" in first else []
    return measured(first, *units, f"{first['sets'][0]['images']:,} images a set") + markdown(rows)


def precision_uses(result: Record) -> str:
    """Markdown: a row per use of bfloat16 beside the sets, the better turn of each."""
    rows = [["images of", "use", "float32, s", "bfloat16, s", "gain", "outcome in float32", "in bfloat16"]]
    for record in result["records"]:
        gain = f"{record['float32'] / record['bfloat16']:.2f} times"
        found = [f"{record['outcome']} {record['float32_outcome']:.4g}", f"{record['bfloat16_outcome']:.4g}"]
        rows.append(
            [record["dataset"], record["use"], f"{record['float32']:g}", f"{record['bfloat16']:g}", gain, *found]
        )
    return measured(result, ", ".join(result["bfloat16"]) or "no bfloat16") + markdown(rows)


def precision_on_gpu(results: Results) -> str:
    """As `precision`, of the card's parts."""
    return precision([results[name] for name in ("precision_mnist", "precision_cifar10") if name in results])
