"""Generation on a device, end to end: from raw images to sets on disk, in float32 and in bfloat16."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.gpu_ceiling import bare_rate
from benchmarks.gpu_context import Context, save
from benchmarks.gpu_inputs import WORKLOADS, fitted, images_of, read_in
from pipeline.artifacts.adversarial import Identity, Sources, open_adversarial, write_adversarial
from pipeline.attacks.extended import attack as extended
from pipeline.attacks.minimal import attack as minimal
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack
from pipeline.devices import batching
from pipeline.metrics.outcomes import margins
from pipeline.metrics.sources import every_target, select_sources
from pipeline.models.inference import for_inference, predict
from pipeline.randomness import derive_seed


def generation(context: Context, name: str) -> dict[str, Any]:
    """From raw images to a minimal and an extended set on disk, as the stages do it."""
    device, workload, times = context.device, WORKLOADS[name], {}
    settings = batching(device)
    raw = read_in(context, name)
    model, about = fitted(context, name, times)
    model = for_inference(model, device)
    with context.timing(times, "select"):
        sources = select(context, name, model)
    shape = sources.originals.shape[1:]
    bare = bare_rate(context, model, shape, settings.attack)
    first = context.work / f"{name}_minimal.h5"
    second = context.work / f"{name}_extended.h5"
    parameters = {"step_size": workload.step_size, "max_steps": context.scale.max_steps or workload.max_steps}
    further = {"step_size": workload.step_size, "extra_steps": workload.extra_steps}
    records = {
        "minimal": make_set(context, name, minimal, model, sources, None, first, parameters, bare),
        "extended": make_set(context, name, extended, model, sources, first, second, further, bare),
    }
    second.unlink()
    made = sum(record["images"] for record in records.values())
    spent = sum(record["seconds"]["all"] for record in records.values())
    return {
        "dataset": name, "read": raw, "classifier": about, "batching": described(context),
        "seconds": {key: round(value, 2) for key, value in times.items()},
        "bare_passes_per_second": round(bare), "sets": records,
        "images_generated_and_stored": made, "seconds_generating_and_storing": round(spent, 2),
        "images_per_second": round(made / spent), "peak_memory_mib": context.peak_mib(),
    }  # fmt: skip


def in_turns(context: Context, name: str) -> dict[str, Any]:
    """The sets in float32 and in bfloat16, in turns: the minimal ones, then the extended ones of the last."""
    workload, times = WORKLOADS[name], {}
    model, about = fitted(context, name, times)
    model = for_inference(model, context.device)
    sources = select(context, name, model)
    size, shape = batching(context.device).attack, sources.originals.shape[1:]
    bare = {precision: bare_rate(context, model, shape, size, precision) for precision in ("float32", "bfloat16")}
    step = {"step_size": workload.step_size}
    records: list[dict[str, Any]] = []
    first = ("minimal", minimal, {"max_steps": context.scale.max_steps or workload.max_steps})
    for kind, attack, more in (
        *[first] * context.scale.turns,
        ("extended", extended, {"extra_steps": workload.extra_steps}),
    ):
        for precision, passes in bare.items():
            start = context.work / f"{name}_minimal_{precision}.h5" if kind == "extended" else None
            path = context.work / f"{name}_{kind}_{precision}.h5"
            given = {**step, **more, **({"precision": precision} if precision != "float32" else {})}
            made = make_set(context, name, attack, model, sources, start, path, given, passes)
            records.append({"set": kind, "precision": precision, **made})
            save(context, f"precision_{name}", {"dataset": name, "sets": records})
    # For the part `defenses`.
    (context.work / f"{name}_minimal_float32.h5").replace(context.work / f"{name}_minimal.h5")
    return {
        "dataset": name, "classifier": about, "batching": described(context),
        "seconds": {key: round(value, 2) for key, value in times.items()},
        "bare_passes_per_second": {precision: round(passes) for precision, passes in bare.items()},
        "sets": records, "peak_memory_mib": context.peak_mib(),
    }  # fmt: skip


def described(context: Context) -> dict[str, Any]:
    """The table's row, for a record."""
    return {
        key: value if isinstance(value, int) else str(value) for key, value in vars(batching(context.device)).items()
    }


def select(context: Context, name: str, model: nn.Module) -> Sources:
    """As the stage `minimal` selects them."""
    originals, labels, splits, indices = [], [], [], []
    size = batching(context.device).predict

    def classify(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        return predict(model, torch.from_numpy(images), size).argmax(1).cpu().numpy()

    for number, split in enumerate(("train", "test")):
        images, truth = images_of(context, name, split)
        random = np.random.default_rng(derive_seed(0, name, "sources", split))
        count = context.scale.originals
        chosen = select_sources(images, truth, classify, count, tuple("0123456789"), random, split)
        originals.append(images[chosen])
        labels.append(truth[chosen])
        splits.append(np.full(count, number, np.uint8))
        indices.append(chosen.astype(np.int32))
    every = np.concatenate(labels)
    rows, targets = every_target(every, 10)
    return Sources(
        np.concatenate(originals), np.concatenate(splits), np.concatenate(indices), rows, every[rows], targets
    )


def make_set(
    context: Context,
    name: str,
    attack: Attack,
    model: nn.Module,
    sources: Sources,
    start: Path | None,
    path: Path,
    parameters: dict[str, Any],
    bare: float,
) -> dict[str, Any]:
    """As the stages do: by blocks kept on disk, then one file, margins of what it holds."""
    device, settings, times = context.device, batching(context.device), {}
    count = len(sources.labels)
    blocks = [slice(at, min(at + settings.block, count)) for at in range(0, count, settings.block)]
    kind = attack.name
    passes = {"climbed": 0, "asked": 0}  # in bfloat16 the model itself is only asked, near the boundary
    low = parameters.get("precision") == "bfloat16"

    def seen(module: nn.Module, inputs: object, output: Tensor) -> None:
        passes["asked" if low and module is model else "climbed"] += len(output)

    def attack_block(index: int, advance: object = None) -> dict[str, NDArray[Any]]:
        rows = blocks[index]
        with context.timing(times, "read_and_move"):
            if start:
                with open_adversarial(start) as set_:
                    images, before = set_.images(rows), set_.steps[rows]
                image_rows = np.arange(len(images))
            else:
                ends = sources.original_row[rows][[0, -1]]
                images, before = sources.originals[ends[0] : ends[1] + 1], 0
                image_rows = sources.original_row[rows] - ends[0]
            about = (
                torch.from_numpy(images).to(device),
                torch.from_numpy(image_rows).to(device, torch.int64),
                Goal(torch.from_numpy(sources.target_labels[rows]).to(device, torch.int64)),
            )
        with context.timing(times, "attack"):
            found, steps = run_attack(attack, model, *about, settings.attack, **parameters)
        with context.timing(times, "fetch"):
            return {"images": found.cpu().numpy(), "steps": before + steps.cpu().numpy().astype(np.int16)}

    def measure(images: NDArray[np.float32], targets: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = predict(model, torch.from_numpy(images), settings.predict)
        return margins(logits, torch.from_numpy(targets).to(device, torch.int64)).cpu().numpy()

    identity = Identity(name, kind, parameters, tuple("0123456789"), 0)
    handle = model.register_forward_hook(seen)
    started = context.clock()
    try:
        shards = shards_of(context, {"set": kind, "dataset": name}, start)
        if shards is None:
            made = ((rows, *attack_block(index).values()) for index, rows in enumerate(blocks))
        else:
            with context.timing(times, "all_blocks"):
                shards.fill(len(blocks), attack_block)
            loaded = zip(blocks, shards.load(len(blocks)), strict=True)
            made = ((rows, shard["images"], shard["steps"]) for rows, shard in loaded)
        with context.timing(times, "one_file_and_margins"):
            handle.remove()
            write_adversarial(path, identity, sources, made, measure)
        if shards:
            shards.clear()
    finally:
        handle.remove()
    times["all"] = context.clock() - started
    with open_adversarial(path) as set_:
        fooled, steps = set_.is_adversarial, set_.steps
        l2 = []
        for rows in set_.blocks():
            moved = (set_.images(rows) - set_.originals(rows)).reshape(len(set_.steps[rows]), -1)
            l2.append(np.sqrt(np.square(moved, dtype=np.float64).sum(1)))
    own = steps.astype(np.int64)
    if start:
        with open_adversarial(start) as set_:
            own = own - set_.steps
    needed = int(own.sum()) + (0 if start else count)  # one more, to see the success
    return {
        "images": count,
        "success_rate": float(fooled.mean()),
        "steps_mean": float(steps.mean()),
        "steps_max": int(steps.max()),
        "l2_mean": float(np.concatenate(l2)[fooled].mean()),
        "seconds": {key: round(value, 3) for key, value in times.items()},
        "attack_images_per_second": round(count / times["attack"]),
        "images_per_second_stored": round(count / times["all"], 0 if count > 1000 * times["all"] else 2),
        "needed_passes": needed,
        "passes": passes["climbed"],
        "asked_per_image": round(passes["asked"] / count, 2),
        "needed_passes_per_second": round(needed / times["attack"]),
        "share_of_bare_passes": round(needed / times["attack"] / bare, 3),
        "bytes": path.stat().st_size,
    }


def shards_of(context: Context, about: dict[str, Any], start: Path | None) -> Any:
    """A store of blocks in WORK; None where safetensors is missing, and blocks go straight into the file."""
    try:
        from pipeline.artifacts import shards
    except ImportError:
        return None
    shards.WORK = context.work / "shards"
    return shards.ShardStore([start] if start else [], about)
