"""The answers of benchmarks/README.md in sentences, which tell ratios: numbers a second are one machine's."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from benchmarks.generation_tables import of_the_studies
from benchmarks.tables import LOW, Record
from pipeline.reporting.formats import percent
from pipeline.side_by_side import SIDE_BY_SIDE


def in_short(results: Mapping[str, Any]) -> str:
    """Markdown: a line per answer that was measured; "" if none was."""
    return "\n".join(f"- {line}" for line in _answers(results))


def _answers(results: Mapping[str, Any]) -> Iterator[str]:
    if "generation" in results:
        ratios = _by_dataset("study", _same_rule(results["generation"]), _over_the_fastest)
        yield (
            f"On the same rule, steps of one length, the engine is {ratios} times as fast as the fastest of "
            f"{_libraries(results['generation'])}, which take a fixed number of steps where it stops each image at its "
            "first success."
        )
        own = of_the_studies(results["generation"], results.get("metrics", {}))
        if own:
            ratios = " and ".join(f"{ratio:.1f} ({study})" for study, ratio in own.items())
            yield (
                f"The studies' own sets, by the paper's steps, it makes {ratios} times as fast as the fastest library "
                "whose perturbations are no longer."
            )
        same_rule = _same_rule(results["generation"])
        studies = {record["study"] for record in same_rule if record["system"] == LOW}
        if studies:
            there = (record for record in same_rule if record["study"] in studies)
            ratios = _by_dataset("study", there, lambda some: _over_the_fastest(some, LOW))
            yield (
                f"With gradients in bfloat16 it is {ratios} times as fast as the fastest library by the same rule, "
                "which has float32."
            )
    if "ceiling" in results:
        shares = _by_dataset("study", results["ceiling"]["engine"], lambda some: _share(some[0]["share_of_ceiling"]))
        yield f"It makes {shares} of the bare passes measured beside it (above 100 %: the machine's speed varies)."
    if "precision" in results:
        gains = _by_dataset("dataset", results["precision"], lambda some: _gain(some[0]))
        yield f"With gradients in bfloat16 it stores {gains} times as many minimal images a second as in float32."
    if "workers" in results:
        times = {turn["task"]: f"{turn['times_as_fast']:.2f}" for turn in results["workers"]["turns"]}
        shares = [stage["share"] for stage in results["workers"]["busy"]]
        yield (
            f"{results['workers']['workers']} workers make MNIST's minimal set {times['minimal']} and a short adaptive "
            f"attack {times['adaptive']} times as fast as one process; stages of "
            f"{', '.join(sorted({stage['study'] for stage in results['workers']['busy']}))} of a minute or so keep "
            f"{_share(min(shares))} to {_share(max(shares))} of the cores busy."
        )
    for costs in results.get("stage_costs", ()):
        for whole in (stage for stage in costs["stages"] if stage["stage"] == SIDE_BY_SIDE):
            said = f"{_share(whole['core_seconds'] / whole['available'])} of the cores' time"
            own = sum(stage["core_seconds"] for stage in costs["stages"] if stage is not whole)
            if whole["cut_off"]:  # the rest was done in runs that nobody has measured whole
                said += f", in a run that did at most {_share(whole['core_seconds'] / own)} of the work"
            else:
                said += f", {_share(own / whole['available'])} for their own work"
            yield f"The stages of {costs['study']}, side by side, use {said}."
    if "gpu/peers" in results:
        good = [entry for entry in results["gpu/peers"]["records"] if "error" not in entry]
        if any(not entry["system"].startswith("ours") for entry in _same_rule(good)):
            ratios = _by_dataset("dataset", _same_rule(good), _over_the_fastest)
            libraries, device = _libraries(good), results["gpu/peers"]["device"]
            yield f"On a GPU ({device}) it is {ratios} times as fast as the fastest of {libraries}."
    if "gpu/ceiling" in results:
        engine = [e for e in results["gpu/ceiling"]["engine"] if e.get("precision", "float32") == "float32"]
        shares = _by_dataset("dataset", engine, lambda some: _share(max(e["share_of_best_bare"] for e in some)))
        yield f"There it makes {shares} of the passes that the card gives at best."


def _by_dataset(key: str, records: Iterable[Record], answer: Any) -> str:
    """ "1.7 (mnist) and 3.1 (cifar10)"."""
    found = [f"{answer(list(some))} ({name})" for name, some in groupby(records, key=lambda record: record[key])]
    return " and ".join(found)


def _same_rule(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record["comparison"] == "same_rule"]


def _libraries(records: Iterable[Record]) -> str:
    """ "2 attack libraries (a, b)": those beside ours on the same rule."""
    names = dict.fromkeys(record["system"].split(" ")[0] for record in _same_rule(records))
    found = [name for name in names if not name.startswith("ours")]
    return f"{len(found)} attack libraries ({', '.join(found)})"


def _over_the_fastest(records: list[Record], ours: str = "ours-normalized") -> str:
    rates = {record["system"]: 0.0 for record in records}
    for record in records:
        rates[record["system"]] = max(rates[record["system"]], record["images_per_second"])
    peers = max(rate for system, rate in rates.items() if not system.startswith("ours"))
    return f"{rates[ours] / peers:.1f}"


def _share(share: float) -> str:
    return percent(share, 0)


def _gain(record: Record) -> str:
    rates = {"float32": 0.0, "bfloat16": 0.0}
    for made in record["sets"]:
        if made["set"] == "minimal":
            rates[made["precision"]] = max(rates[made["precision"]], made["images_per_second_stored"])
    return f"{rates['bfloat16'] / rates['float32']:.2f}"
