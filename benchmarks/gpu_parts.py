"""The parts of benchmarks/on_gpu.py: what each measures, as a record.

    PYTHONPATH=. python -m benchmarks.gpu_parts OUT WORK [--small] [--training SHARE] read | PART...

Cards are timed with the device drained before and after. What a part leaves for later ones (raw images, weights, the
minimal set) lies in WORK.
"""

import argparse
import copy
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import devices
from pipeline.artifacts.adversarial import TEST, Identity, Sources, open_adversarial, write_adversarial
from pipeline.attacks.extended import attack as extended
from pipeline.attacks.minimal import attack as minimal
from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.precision import Lowered
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.protocol import Attack
from pipeline.defenses.adversarial_training import Adversary
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.devices import batching, choose_device, describe_device, keep_freed_memory
from pipeline.metrics.outcomes import margins
from pipeline.metrics.sources import every_target, select_sources
from pipeline.metrics.splits import validation_mask
from pipeline.metrics.votes import summarize_passes
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference, predict, to_unit_interval
from pipeline.models.modes import frozen
from pipeline.randomness import derive_seed, generator
from pipeline.training.classifier import divide, fit_classifier, new_classifier


@dataclass(frozen=True)
class Workload:
    """One dataset as the committed study has it (params.yaml, which is not read here: its reader is no core need)."""

    channels: tuple[int, ...]
    training: dict[str, Any]
    step_size: float
    max_steps: int
    extra_steps: int
    rate: float  # of the dropout ensemble
    epsilon: float  # Linf
    same_rule: float  # length of a step, against the peers


def _training(epochs: int, learning_rate: float, shift: int, flip: bool) -> dict[str, Any]:
    return {
        "epochs": epochs, "batch_size": 128, "learning_rate": learning_rate, "weight_decay": 5e-4, "shift": shift,
        "flip": flip,
    }  # fmt: skip


WORKLOADS = {
    "mnist": Workload((32, 64, 64), _training(8, 0.05, 2, False), 0.05, 1000, 10, 0.4, 0.3, 0.1),
    "cifar10": Workload((32, 64, 128, 256), _training(24, 0.1, 4, True), 0.005, 2000, 12, 0.075, 0.03137, 0.03),
}


@dataclass(frozen=True)
class Scale:
    """How much is done. originals : of each split, attacked towards every other class. seconds : of one measurement.
    training : share of the epochs. turns : of float32 and bfloat16.
    """

    train: int | None
    epochs: int | None
    max_steps: int | None
    originals: int
    seconds: float
    bare_batches: tuple[int, ...]
    engine_batches: tuple[int, ...]
    attacked: int
    peers: int
    peer_batches: tuple[int, ...]
    robust_epochs: int
    turns: int
    training: float = 1.0


FULL = Scale(None, None, None, 5000, 0.1, (512, 1024, 2048, 4096), (2048,), 1000, 1250, (1024, 2048), 2, 1)
SMALL = Scale(1500, 3, 60, 10, 0.05, (64,), (64, 256), 10, 3, (27,), 1, 2)


@dataclass(frozen=True)
class Context:
    out: Path
    work: Path
    scale: Scale
    device: torch.device
    clock: Callable[[], float] = time.perf_counter

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], object]) -> float:
        """How long a call takes, on the device too."""
        self.wait()
        started = self.clock()
        run()
        self.wait()
        return self.clock() - started

    def rate(self, run: Callable[[], object], size: int) -> float:
        """Rows per second of a call that works on `size` of them: the better of two measurements."""
        run()
        once = self.seconds(run)
        repeats = max(2, round(self.scale.seconds / once))

        def often() -> None:
            for _ in range(repeats):
                run()

        return size * repeats / min(self.seconds(often) for _ in range(2))

    @property
    def small(self) -> bool:
        return self.scale.train is not None

    @contextmanager
    def timing(self, times: dict[str, float], what: str) -> Iterator[None]:
        self.wait()
        started = self.clock()
        yield
        self.wait()
        times[what] = times.get(what, 0.0) + self.clock() - started

    def peak_mib(self) -> int | None:
        return round(torch.cuda.max_memory_allocated() / 2**20) if self.device.type == "cuda" else None


# Raw images, weights, pairs


def read(context: Context) -> None:
    """Raw images of all datasets to arrays in WORK, with the seconds that took."""
    for name in WORKLOADS:
        read_one(context, name)


def read_one(context: Context, name: str) -> None:
    """Those of one dataset."""
    started = time.perf_counter()
    folder = Path(os.environ.get("DATASETS_DIR", "data/raw")) / name
    if (folder / f"{name}.npz").exists():
        source = f"{name}.npz"
        with np.load(folder / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file}
    else:
        from pipeline.artifacts.images import read_description, read_split, write_images
        from pipeline.artifacts.raw import sources  # needs pyarrow and Pillow
        from pipeline.artifacts.raw.checks import Checked
        from pipeline.artifacts.raw.wanted import Images

        images, path = Images(name), context.work / f"{name}.h5"
        checked = Checked(sources.read(sources.wanted(images, name, "images")), images, "images")
        write_images(path, checked.description, checked.streams())
        source = read_description(path).source
        arrays = {
            f"{split}_{kind}": getattr(read_split(path, split), kind)
            for split in ("train", "test")
            for kind in ("images", "labels")
        }
    for key, values in arrays.items():
        np.save(context.work / f"{name}_{key}.npy", values)
    about = {"source": source, "seconds": round(time.perf_counter() - started, 2)}
    (context.work / f"{name}_read.json").write_text(json.dumps(about))


def images_of(context: Context, name: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = (np.load(context.work / f"{name}_{split}_{kind}.npy") for kind in ("images", "labels"))
    count = context.scale.train
    return images[:count], labels[:count]


def fitted(context: Context, name: str, times: dict[str, float]) -> tuple[Classifier, dict[str, Any]]:
    """The dataset's classifier, trained, or as a part before left it."""
    device, workload = context.device, WORKLOADS[name]
    images, labels = images_of(context, name, "train")
    path = context.work / f"{name}.pt"
    architecture = {"channels": workload.channels, "dropout": 0.1}
    if path.exists():
        shape = tuple(images.shape[1:])
        model = Classifier(shape, 10, **architecture)  # type: ignore[arg-type]
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval().to(device), {}
    epochs = context.scale.epochs or max(1, round(context.scale.training * workload.training["epochs"]))
    training = {**workload.training, "epochs": epochs}
    if context.small:  # a few steps that lead somewhere
        training["batch_size"] = 32
    with context.timing(times, "train"):
        division = divide(images, labels, validation_mask(labels, 0, name), device)
        model = new_classifier(division.images, 10, (0, name, "classifier"), **architecture)
        epochs = list(
            fit_classifier(model, *division, generator(device, 0, name, "classifier", "training"), **training)
        )
    torch.save({key: value.cpu() for key, value in model.state_dict().items()}, path)
    test_images, test_labels = images_of(context, name, "test")
    right = predict(model, torch.from_numpy(test_images), batching(device).predict).argmax(1).cpu().numpy()
    about = {
        "epochs": training["epochs"], "batch_size": training["batch_size"],
        "images_per_second": round(training["epochs"] * len(division.images) / times["train"]),
        "validation_accuracy": epochs[-1].accuracy, "test_accuracy": float((right == test_labels).mean()),
    }  # fmt: skip
    return model, about


@dataclass(frozen=True)
class Pairs:
    """Test originals that the classifier gets right, towards every other class each, on the device."""

    model: nn.Module
    originals: Tensor
    labels: Tensor
    rows: Tensor
    targets: Tensor


def pairs_of(context: Context, name: str, originals: int) -> Pairs:
    model = for_inference(fitted(context, name, {})[0], context.device)
    images, labels = images_of(context, name, "test")
    predicted = predict(model, torch.from_numpy(images), batching(context.device).predict).argmax(1).cpu().numpy()
    chosen = np.flatnonzero(predicted == labels)[:originals]
    rows, targets = every_target(labels[chosen], 10)
    to = partial(torch.Tensor.to, device=context.device)
    return Pairs(
        model, to(torch.from_numpy(images[chosen])), to(torch.from_numpy(labels[chosen]).long()),
        to(torch.from_numpy(rows).long()), to(torch.from_numpy(targets).long()),
    )  # fmt: skip


# Generation, end to end


def generation(context: Context, name: str) -> dict[str, Any]:
    """From raw images to a minimal and an extended set on disk, as the stages do it."""
    device, workload, times = context.device, WORKLOADS[name], {}
    settings = batching(device)
    read_in = json.loads((context.work / f"{name}_read.json").read_text())
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
        "dataset": name, "read": read_in, "classifier": about, "batching": described(context),
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
    """As the stage generate_adversarial selects them."""
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
    """As the stage generate_adversarial makes one: by blocks kept on disk, then one file, margins of what it holds."""
    device, settings, times = context.device, batching(context.device), {}
    count = len(sources.labels)
    blocks = [slice(at, min(at + settings.block, count)) for at in range(0, count, settings.block)]
    kind = attack.name
    passes = {"climbed": 0, "asked": 0}  # in bfloat16 the model itself is only asked, near the boundary
    low = parameters.get("precision") == "bfloat16"

    def seen(module: nn.Module, inputs: object, output: Tensor) -> None:
        passes["asked" if low and module is model else "climbed"] += len(output)

    def attack_block(index: int) -> dict[str, NDArray[Any]]:
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


# Ceiling


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        devices.fix_numerics()


def bare_rate(
    context: Context,
    model: nn.Module,
    shape: tuple[int, ...],
    size: int,
    precision: str = "float32",
    memory_format: torch.memory_format | None = None,
    graph: bool = False,
) -> float:
    """Forward and input-gradient passes a second, over one batch; in the table's order of memory if none is given."""
    memory_format = memory_format or batching(context.device).memory_format
    own = copy.deepcopy(model).to(memory_format=memory_format)
    own = Lowered(own) if precision == "bfloat16" else own
    images = torch.rand(size, *shape, device=context.device).contiguous(memory_format=memory_format)
    goal = Goal(torch.randint(10, (size,), device=context.device))
    with frozen(own), tf32(precision == "tf32") if precision == "tf32" else nullcontext():

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


def guarded(run: Callable[[], Any]) -> Any:
    """What a call gives, or why it gave nothing; an error of the card itself is no part's own."""
    try:
        return run()
    except Exception as error:
        if poisoned(error):
            raise
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def poisoned(error: Exception) -> bool:
    """Whether the card's context is broken for all that comes after."""
    text = str(error)
    return "CUDA error" in text and "out of memory" not in text and "not permitted when stream is capturing" not in text


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
        for precision, layout in (("float32", "channels_last"), ("float32", "contiguous"), ("bfloat16", "contiguous")):
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


# Defenses


class Passes(nn.Module):
    """The dropout ensemble as a model: images to the logits of all its passes, (n, passes, k)."""

    def __init__(self, model: nn.Module, draws: torch.Generator, passes: int, rate: float) -> None:
        super().__init__()
        self.model = model
        self.about = {"passes": passes, "rate": rate}
        self.draws = draws

    def forward(self, images: Tensor) -> Tensor:
        return dropout_ensemble(self.model, images, self.draws, **self.about)


@contextmanager
def pass_at_a_time(device: torch.device) -> Iterator[None]:
    before = devices.TABLE[device.type]
    devices.TABLE[device.type] = replace(before, folded=0)
    try:
        yield
    finally:
        devices.TABLE[device.type] = before


def defenses(context: Context) -> dict[str, Any]:
    """An ensemble judged on stored images, and adaptive attacks on it, on the plain and on a robust classifier."""
    records: dict[str, Any] = {}
    for name in WORKLOADS:
        records[f"ensemble_{name}"] = guarded(lambda n=name: judge_ensemble(context, n))
        save(context, "defenses", records)
    for name in WORKLOADS:
        records[f"adaptive_{name}"] = guarded(lambda n=name: adaptive(context, n))
        save(context, "defenses", records)
    records["robust_mnist"] = guarded(lambda: robust(context, "mnist"))
    return records


def judge_ensemble(context: Context, name: str) -> dict[str, Any]:
    """Ten passes over every minimal image of the test split, and their votes."""
    path = context.work / f"{name}_minimal.h5"
    if not path.exists():
        return {"error": "the part generation left no set"}
    model = for_inference(fitted(context, name, {})[0], context.device)
    with open_adversarial(path) as set_:
        sources = set_.sources
        rows = np.flatnonzero(set_.is_adversarial & (sources.source_split[sources.original_row] == TEST))
        images = torch.from_numpy(set_.images(rows))
        labels, targets = sources.labels[rows], sources.target_labels[rows]
    size, about = batching(context.device).predict, {"passes": 10, "rate": WORKLOADS[name].rate}

    def run() -> NDArray[np.int64]:
        votes = []
        with torch.inference_mode():
            for index, batch in enumerate(images.split(size)):
                draws = generator(context.device, 0, name, "ensemble", index)
                logits = dropout_ensemble(model, to_unit_interval(batch, model), draws, **about)
                votes.append(summarize_passes(logits)["predicted"])
        return torch.cat(votes).cpu().numpy()

    found: list[NDArray[np.int64]] = []
    run()
    seconds = {"folded": context.seconds(lambda: found.append(run()))}
    with pass_at_a_time(context.device):
        run()
        seconds["pass_at_a_time"] = context.seconds(lambda: found.append(run()))
    return {
        "images": len(images), **about, "batch_size": size,
        "images_per_second": {key: round(len(images) / value) for key, value in seconds.items()},
        "thwarted": [float((votes != targets).mean()) for votes in found],
        "recovered": [float((votes == labels).mean()) for votes in found],
    }  # fmt: skip


def adaptive(context: Context, name: str) -> dict[str, Any]:
    """PGD within the study's Linf budget: on the classifier, and in expectation over ten draws on its ensemble."""
    pairs, workload = pairs_of(context, name, context.scale.attacked), WORKLOADS[name]
    originals = to_unit_interval(pairs.originals, pairs.model)
    settings = {"epsilon": workload.epsilon, "relative_step_size": 0.1, "steps": 20, "restarts": 1}

    def attack(draws: int) -> Tensor:
        size = max(1, batching(context.device).attack // max(1, draws))
        broken = []
        for index, rows in enumerate(torch.arange(len(originals), device=context.device).split(size)):
            random = generator(context.device, 0, name, "adaptive", index)
            labels = pairs.labels[rows]
            model = Passes(pairs.model, random, draws, workload.rate) if draws else pairs.model
            goal = Evasion(labels) if draws else Goal(labels, targeted=False)
            found, _ = projected_gradient_descent(
                model, originals[rows], goal, random, BALLS["linf"], random_start=True, decay=True, **settings
            )
            judged = Passes(pairs.model, random, 50, workload.rate) if draws else None
            with torch.no_grad():
                said = summarize_passes(judged(found))["predicted"] if judged else pairs.model(found).argmax(1)
            broken.append(said != labels)
        return torch.cat(broken)

    def timed(draws: int) -> dict[str, Any]:
        found: list[Tensor] = []
        attack(draws)
        taken = context.seconds(lambda: found.append(attack(draws)))
        return {"draws": draws, "broken": float(found[0].float().mean()), "seconds": round(taken, 3)}

    record = {"originals": len(originals), **settings, "classifier": timed(0), "ensemble": timed(10)}
    with pass_at_a_time(context.device):
        return {**record, "ensemble_pass_at_a_time": timed(10)}


def robust(context: Context, name: str) -> dict[str, Any]:
    """Adversarial training for a few epochs, and PGD on what came of it."""
    workload, device, times = WORKLOADS[name], context.device, {}
    images, labels = images_of(context, name, "train")
    division = divide(images, labels, validation_mask(labels, 0, name), device)
    model = new_classifier(division.images, 10, (0, name, "robust"), channels=workload.channels, dropout=0.0)
    adversary = Adversary(
        generator=generator(device, 0, name, "robust", "adversary"), norm="linf", epsilon=workload.epsilon, steps=7,
        relative_step_size=0.25, warmup=0.5, trades=0.0,
    )  # fmt: skip
    training = {**workload.training, "epochs": max(1, round(context.scale.training * context.scale.robust_epochs))}
    with context.timing(times, "train"):
        draws = generator(device, 0, name, "robust", "training")
        epochs = list(fit_classifier(model, *division, draws, objective=adversary, **training))
    ready = for_inference(model, device)
    test_images, truth = images_of(context, name, "test")
    originals = to_unit_interval(torch.from_numpy(test_images[: context.scale.attacked]), ready)
    wanted = torch.from_numpy(truth[: context.scale.attacked]).to(device, torch.int64)
    with context.timing(times, "attack"):
        found, _ = projected_gradient_descent(
            ready, originals, Goal(wanted, targeted=False), generator(device, 0, name, "robust", "attack"),
            BALLS["linf"], epsilon=workload.epsilon, relative_step_size=0.1, steps=40, restarts=1, random_start=True,
        )  # fmt: skip
    right = (predict(ready, found, 4096).argmax(1) == wanted).float().mean()
    return {
        "epochs": training["epochs"], "validation_accuracy": epochs[-1].accuracy, "robust_accuracy": float(right),
        "images_per_second": round(training["epochs"] * len(division.images) / times["train"]),
        "seconds": {key: round(value, 2) for key, value in times.items()},
    }  # fmt: skip


# Peers


def peers(context: Context) -> dict[str, Any]:
    """The engine and the libraries under the same rule (benchmarks/generation.py), and the minimum-norm attacks."""
    try:
        from benchmarks import common
        from benchmarks import generation as others
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
        others.slowest(name, few)
        steps_of[name] = steps = others.slowest(name, pairs)
        runs = list(others.ours_on_the_rule(workload.same_rule))
        for size in context.scale.peer_batches:
            for system, attack in others.descents(10, 1000.0, workload.same_rule, steps).items():
                if not system.startswith("ART"):
                    rest = {"steps": steps, "length": workload.same_rule, "batch_size": size}
                    runs.append(others.Run(system, partial(others.in_batches, size=size, attack=attack), rest))
        walks = [others.Run("ours-minimum_norm", partial(others.ours_shortest, steps=16), {"steps": 16})]
        walks += [others.walk("Foolbox DDN", 40, context.scale.peer_batches[-1])]
        for comparison, several in (("same_rule", runs), ("walks", walks)):
            for run in several:
                guarded(lambda r=run, f=few: r.attack(f))  # to warm up
                found = guarded(
                    lambda r=run, c=comparison, n=name, p=pairs: others.measure(r, p, c, n, 1)  # type: ignore[misc]
                )
                records.append({"comparison": comparison, "system": run.system, "dataset": name, **found})
                save(context, "peers", {"records": records})
    return {"steps_of_the_slowest": steps_of, "records": records, "peak_memory_mib": context.peak_mib()}


PARTS: dict[str, Callable[[Context], dict[str, Any]]] = {
    "generation_mnist": lambda context: generation(context, "mnist"),
    "generation_cifar10": lambda context: generation(context, "cifar10"),
    "precision_mnist": lambda context: in_turns(context, "mnist"),
    "precision_cifar10": lambda context: in_turns(context, "cifar10"),
    "ceiling": ceiling,
    "defenses": defenses,
    "peers": peers,
}


def header(context: Context) -> dict[str, Any]:
    about = {
        "device": describe_device(context.device), "torch": torch.__version__, "numpy": np.__version__,
        "small": context.small,
    }  # fmt: skip
    if context.device.type == "cuda":
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return about


def save(context: Context, part: str, record: dict[str, Any], finished: bool = False) -> None:
    """The record so far goes to WORK; a finished one to OUT, where its file says that the part is done."""
    text = json.dumps({"part": part, **header(context), **record}, indent=1, default=float) + "\n"
    (context.work / f"{part}.partial.json").write_text(text)
    if finished:
        (context.out / f"{part}.json").write_text(text)


def main() -> None:
    out, work, *words = sys.argv[1:]
    options = argparse.ArgumentParser()
    options.add_argument("--small", action="store_true")
    options.add_argument("--training", type=float, default=1)
    options.add_argument("parts", nargs="+")
    given = options.parse_args(words)
    small, parts = given.small, given.parts
    torch.set_num_threads(min(16, torch.get_num_threads()))
    keep_freed_memory()
    device = torch.device("cpu") if small or parts == ["read"] else choose_device()
    devices.fix_numerics()
    scale = FULL if device.type == "cuda" else SMALL
    context = Context(Path(out), Path(work), replace(scale, training=given.training), device)
    if parts == ["read"]:
        read(context)
        return
    for part in parts:
        (context.work / "running").write_text(part)
        started = time.perf_counter()
        record: dict[str, Any]
        broken = False
        try:
            record = PARTS[part](context)
        except Exception as error:
            traceback.print_exc()
            partial_path = context.work / f"{part}.partial.json"
            before = json.loads(partial_path.read_text()) if partial_path.exists() else {}
            record = {
                **before,
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc()[-3000:],
            }
            broken = poisoned(error)
        save(context, part, {**record, "seconds_of_the_part": round(time.perf_counter() - started, 2)}, finished=True)
        print(part, json.dumps(record, default=float)[:6000], flush=True)
        if device.type == "cuda" and not broken:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if broken:
            sys.exit(3)


if __name__ == "__main__":
    main()
