"""The attack libraries on a device, beside the engine."""

from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.gpu_context import Context, guarded, save
from benchmarks.gpu_inputs import WORKLOADS, pairs_of


def peers(context: Context) -> dict[str, Any]:
    """The engine and the libraries under the same rule (benchmarks/generation.py), and the minimum-norm attacks."""
    try:
        from benchmarks import common, systems
        from benchmarks.generation import measure, slowest
    except ImportError as error:
        return {"skipped": f"no peers here: {error}"}
    records: list[dict[str, Any]] = []
    steps_of: dict[str, int] = {}
    datasets = ["mnist"] if context.small else WORKLOADS  # a poor classifier asks for too many steps
    for name in datasets:
        workload = WORKLOADS[name]
        own = pairs_of(context, name, context.scale.peers)
        pairs = common.Pairs(own.model, own.originals, own.rows, own.targets)
        few = replace(pairs, rows=pairs.rows[:64], targets=pairs.targets[:64])
        slowest(name, few)
        steps_of[name] = steps = slowest(name, pairs)
        runs = list(systems.ours_on_the_rule(workload.same_rule))
        for size in context.scale.peer_batches:
            for system, attack in systems.descents(10, 1000.0, workload.same_rule, steps).items():
                if not system.startswith("ART"):
                    rest = {"steps": steps, "length": workload.same_rule, "batch_size": size}
                    runs.append(systems.Run(system, partial(systems.in_batches, size=size, attack=attack), rest))
        walks = [systems.Run("ours-minimum_norm", partial(systems.ours_shortest, steps=16), {"steps": 16})]
        walks += [systems.walk("Foolbox DDN", 40, context.scale.peer_batches[-1])]
        for comparison, several in (("same_rule", runs), ("walks", walks)):
            for run in several:
                guarded(lambda r=run, f=few: r.attack(f))  # to warm up
                found = guarded(
                    lambda r=run, c=comparison, n=name, p=pairs: measure(r, p, c, n, 1)  # type: ignore[misc]
                )
                records.append({"comparison": comparison, "system": run.system, "dataset": name, **found})
                save(context, "peers", {"records": records})
    return {"steps_of_the_slowest": steps_of, "records": records, "peak_memory_mib": context.peak_mib()}
