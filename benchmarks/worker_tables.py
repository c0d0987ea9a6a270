"""Tables of benchmarks/README.md on several workers; what follows from them for more is arithmetic, and says so."""

from collections.abc import Mapping
from typing import Any

from benchmarks.tables import markdown, measured
from pipeline.reporting.formats import percent

Record = Mapping[str, Any]
KINDS = {"one": "this process", "workers": "workers", "ray": "two Ray nodes"}
TASKS = {
    "minimal": "minimal set",
    "adaptive": "adaptive attack on the dropout ensemble",
    "training": "adversarial training, 20 batches",
}
MILLION = 9_000_000  # rows of a million originals towards nine classes each
FASTER, BUSY, SERIAL, FLAT = 1.7, 0.85, 0.01, 1.25  # the goals


def _missed(met: bool) -> str:
    return "" if met else ": missed"


def turns(record: Record) -> str:
    """Markdown: seconds of each task by who does it."""
    rows = [["MNIST", *(f"{name}, s" for name in KINDS.values()), f"times as fast, {record['workers']} workers"]]
    for turn in record["turns"]:
        cells = [", ".join(f"{taken:g}" for taken in turn["seconds"].get(kind, ())) for kind in KINDS]
        times = turn["times_as_fast"]
        rows.append([TASKS[turn["task"]], *cells, f"{times:.2f}{_missed(times >= FASTER)}"])
    rest = f"{record['start_seconds']:g} s to start the workers, load {record['load_before']:g} before"
    return measured(record, rest) + markdown(rows)


def busy(record: Record) -> str:
    """Markdown: the share of the cores that long stages keep busy."""
    rows = [["study", "stage", "seconds", "busy"]]
    for stage in record["busy"]:
        share = percent(stage["share"], 0) + _missed(stage["share"] >= BUSY)
        rows.append([stage["study"], stage["stage"], f"{stage['seconds']:g}", share])
    return measured(record, f"{record['workers']} workers") + markdown(rows)


def block(record: Record) -> str:
    """Markdown: what a block of the minimal set costs, and what of it travels."""
    found = record["block"]
    share = found["one_ms"] / 1e3 / found["seconds"]
    rows = [
        ["a block of MNIST's minimal set", ""],
        ["images", f"{found['rows']:,}"],
        ["work, ms of a core", f"{1e3 * found['seconds']:,.0f}"],
        ["beside it, ms: this process", f"{found['one_ms']:g} ({100 * share:.1g} %{_missed(share < SERIAL)})"],
        ["workers", f"{found['workers_ms']:g}"],
        ["two Ray nodes", f"{found['ray_ms']:g}" if "ray_ms" in found else ""],
        ["there, bytes an image", f"{found['there_bytes_an_image']:,}"],
        ["back, bytes an image", f"{found['back_bytes_an_image']:,} ({found['pixel_bytes_an_image']:,} of pixels)"],
        ["on the network, bytes an image", f"{found['network_bytes_an_image']:,}" if "ray_ms" in found else ""],
        ["model and settings, once a worker and task, bytes", f"{found['task_bytes']:,}"],
    ]
    return measured(record) + markdown(rows)


def sets(record: Record) -> str:
    """Markdown: what the driver stores a second, and its memory, by the size of the set."""
    rows = [["images", "seconds", "images/s", "MB/s", "peak memory of the driver, MiB", "of these its originals"]]
    least = record["sets"][0]["peak_memory_mib"]
    for made in record["sets"]:
        flat = made["peak_memory_mib"] - made["originals_mib"] <= FLAT * least
        rows.append([
            f"{made['images']:,}", f"{made['seconds']:g}", f"{made['images_a_second']:,}", f"{made['mb_a_second']:,}",
            f"{made['peak_memory_mib']:,}{_missed(flat)}", f"{made['originals_mib']:,}",
        ])  # fmt: skip
    return measured(record, f"{record['workers']} workers, images of 28 x 28") + markdown(rows)


def ahead(record: Record, gpu: Record) -> str:
    """Markdown: from a core's, a GPU's and the driver's rate what more of them would do. Computed, not measured."""
    core = record["block"]["rows"] / record["block"]["seconds"]
    card = gpu["sets"]["minimal"]["attack_images_per_second"]
    made = record["sets"][-1]
    driver, byte = made["images_a_second"], record["block"]["back_bytes_an_image"]
    rows = [["workers", "they make, images/s", "back to the driver, MB/s", "bound by", "nine million images, hours"]]
    kinds = [(count, core, "cores") for count in (2, 64)] + [(count, card, "GPUs") for count in (1, 8, 64)]
    for count, each, name in kinds:
        rate = count * each
        bound = "the workers" if rate < driver else "the driver"
        hours = MILLION / min(rate, driver) / 3600
        rows.append(
            [
                f"{count} {name if count > 1 else name[:-1]}",
                f"{rate:,.0f}",
                f"{rate * byte / 1e6:,.0f}",
                bound,
                f"{hours:.2g}",
            ]
        )
    words = (
        f"*Computed from a core's {core:,.0f} images a second, a GPU's {card:,} ({gpu['device']}), and the {driver:,} "
        f"that the driver stores: {driver / core:,.0f} cores or {driver / card:.1f} GPUs fill it. On disk "
        f"{MILLION * byte / 1e9:.0f} GB of float32, twice that as long as the blocks are kept.*\n\n"
    )
    return words + markdown(rows)


def faults(record: Record) -> str:
    """Markdown: what was done to how many rounds of the minimal set, all of which ended with the same bytes.

    "waited": how often one of two runs said that it waits for the other.
    """
    rows = [[
        "in each round", "rounds", "images in all", "killed", "blocks begun again", "files spoiled", "waited",
        "same bytes",
    ]]  # fmt: skip
    for name, what in (
        ("killed workers", "workers killed at random"),
        ("lost node", "one of two Ray nodes killed"),
        ("two runs", "DVC killed alone, shards spoiled, DVC again and the stage beside it"),
    ):
        if found := record.get(name):
            again = f"{found['again']:,}" if "again" in found else ""
            rows.append([
                what, f"{found['rounds']}", f"{found['images']:,}", f"{found['killed']}", again,
                f"{found.get('spoiled', '')}", f"{found.get('waited', '')}", "all",
            ])  # fmt: skip
    return markdown(rows)
