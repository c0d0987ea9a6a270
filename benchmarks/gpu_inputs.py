"""What the parts of benchmarks/on_gpu.py work on: raw images, weights, pairs. Each is made once, and kept in WORK."""

import json
import os
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.gpu_context import Context
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.metrics.sources import every_target
from pipeline.metrics.splits import validation_mask
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference, predict
from pipeline.randomness import generator
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


def read(context: Context) -> None:
    """Raw images of all datasets to arrays in WORK, with the seconds that took; of one that is not there, why."""
    for name in WORKLOADS:
        try:
            read_one(context, name)
        except Exception as error:  # the other's are read all the same
            traceback.print_exc()
            why = f"{name}: expected raw images in DATASETS_DIR, found none that can be read: {error}"
            (context.work / f"{name}_unread.txt").write_text(why)


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


def read_in(context: Context, name: str) -> dict[str, Any]:
    """Where raw images came from, and the seconds. Raises PipelineError with the reason if there are none."""
    done, failed = context.work / f"{name}_read.json", context.work / f"{name}_unread.txt"
    if not done.exists():
        raise PipelineError(failed.read_text() if failed.exists() else f"{name}: raw images were not read in time")
    about: dict[str, Any] = json.loads(done.read_text())
    return about


def images_of(context: Context, name: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = (np.load(context.work / f"{name}_{split}_{kind}.npy") for kind in ("images", "labels"))
    count = context.scale.train
    return images[:count], labels[:count]


def fitted(context: Context, name: str, times: dict[str, float]) -> tuple[Classifier, dict[str, Any]]:
    """The dataset's classifier, trained, or as a part before left it. Raises PipelineError without raw images."""
    read_in(context, name)
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
