"""The ceiling: bare passes on a device, in several ways, and the engine beside the best of them."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_context import Context, guarded, save
from benchmarks.gpu_inputs import WORKLOADS, Pairs, pairs_of
from pipeline.attacks.minimal import attack as minimal
from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.precision import Lowered
from pipeline.devices import batching
from pipeline.models.modes import frozen


def bare_rate(
    context: Context,
    model: nn.Module,
    shape: tuple[int, ...],
    size: int,
    precision: str = "float32",
    memory_format: torch.memory_format | None = None,
    graph: bool = False,
) -> float:
    """Forward and input-gradient passes a second, over one batch; in the table's order of memory if none is given.

    In bfloat16 in channels_last, see `Lowered`.
    """
    memory_format = memory_format or batching(context.device).memory_format
    own = copy.deepcopy(model).to(memory_format=memory_format)
    own = Lowered(own) if precision == "bfloat16" else own
    images = torch.rand(size, *shape, device=context.device).contiguous(memory_format=memory_format)
    goal = Goal(torch.randint(10, (size,), device=context.device))
    with frozen(own):

        def step() -> None:
            score_gradients(own, images, goal.raised)

        return context.rate(graphed(step) if graph else step, size)


def graphed(step: Callable[[], None]) -> Callable[[], None]:
    """The step recorded as a CUDA graph: its kernels launched at once."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay  # type: ignore[no-any-return]


def ceiling(context: Context) -> dict[str, Any]:
    """Bare passes by batch, precision, memory format and CUDA graph; then the engine by batch and by block."""
    record: dict[str, list[dict[str, Any]]] = {"bare_passes": [], "engine": []}
    for name in WORKLOADS:
        ceiling_of(context, name, record)
    return {**record, "peak_memory_mib": context.peak_mib()}


def ceiling_of(context: Context, name: str, record: dict[str, list[dict[str, Any]]]) -> None:
    cuda, workload = context.device.type == "cuda", WORKLOADS[name]
    table = batching(context.device)
    pairs = pairs_of(context, name, table.block // 9 if cuda else context.scale.attacked)
    shape = tuple(pairs.originals.shape[1:])
    best = 1.0
    for size, precision, layout, graph in bare_trials(context.scale.bare_batches, table.attack, cuda):
        memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        trial = partial(bare_rate, context, pairs.model, shape, size, precision, memory_format, graph)
        found = guarded(lambda trial=trial: round(trial()))  # type: ignore[misc]
        record["bare_passes"].append(
            {"dataset": name, "batch_size": size, "precision": precision, "memory_format": layout,
             "cuda_graph": graph, "passes_per_second": found}
        )  # fmt: skip
        if precision == "float32" and not isinstance(found, dict):
            best = max(best, found)
        save(context, "ceiling", record)
    arguments = {"step_size": workload.step_size, "max_steps": context.scale.max_steps or workload.max_steps}
    tried = [(pairs, size, {}) for size in context.scale.engine_batches]
    tried += [(pairs, size, {"precision": "bfloat16"}) for size in context.scale.engine_batches]
    for some, size, more in tried:
        found = guarded(partial(engine_at, context, some, size, arguments | more, best))
        record["engine"].append({"dataset": name, "precision": "float32", **more, **found})
        save(context, "ceiling", record)


def bare_trials(sizes: tuple[int, ...], usual: int, cuda: bool) -> Iterator[tuple[int, str, str, bool]]:
    """Batch size, precision, memory format, whether as a CUDA graph."""
    for size in sizes:
        for precision, layout in (
            ("float32", "channels_last"),
            ("float32", "contiguous"),
            ("bfloat16", "channels_last"),
        ):
            yield size, precision, layout, False
            if cuda and size == usual:
                yield size, precision, layout, True


def engine_at(context: Context, pairs: Pairs, size: int, arguments: dict[str, Any], best: float) -> dict[str, Any]:
    found: list[Tensor] = []

    def run(count: int) -> None:
        found[:] = run_attack(
            minimal, pairs.model, pairs.originals, pairs.rows[:count], Goal(pairs.targets[:count]), size, **arguments
        )

    count = len(pairs.targets)
    run(min(count, size))
    spent = context.seconds(lambda: run(count))
    needed = int(found[1].sum()) + count
    return {
        "pairs": count, "batch_size": size, "images_per_second": round(count / spent),
        "needed_passes_per_second": round(needed / spent), "share_of_best_bare": round(needed / spent / best, 3),
        "steps_mean": round(needed / count - 1, 2), "steps_max": int(found[1].max()),
    }  # fmt: skip
