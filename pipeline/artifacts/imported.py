"""Adversarial images that were made elsewhere of a study's test images: an .npz, a .pt of tensors, an image folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.adversarial import TEST, Identity, Sources, blocks_of, open_adversarial, write_adversarial
from pipeline.artifacts.generation import margins_by
from pipeline.artifacts.images import Split
from pipeline.artifacts.raw.decoding import decode
from pipeline.artifacts.raw.npz import opened
from pipeline.devices import batching
from pipeline.errors import LeftOut, PipelineError
from pipeline.models.inference import predict
from pipeline.own_files import files_of
from pipeline.pixels import unit_interval

IMAGES, ROWS, TARGETS = "images", "original_rows", "target_labels"
NAME = re.compile(r"(\d+)(?:_(\d+))?")  # of a file in a folder: row, and target if there is one
HOW_TO_SAVE = f'torch.save({{"{IMAGES}": ..., "{ROWS}": ...}}, file), of tensors alone'


@dataclass(frozen=True)
class Imported:
    """n images as they came, float32 (n, c, h, w) in [0, 1]; of each the row of the test split that it was made from.

    target_labels : (n,) what each was made for; None: for any class but the original's.
    """

    images: NDArray[np.float32]
    original_rows: NDArray[np.int64]
    target_labels: NDArray[np.int64] | None


def read_imported(path: Path, split: Split, classes: int) -> Imported:
    """What is in the file, or the folder, checked against the test split that it was made from.

    Raises PipelineError if it can't be read or holds Python objects, if arrays are missing or of another shape or type,
    rows or targets out of range, values not finite or outside of [0, 1], or a row (with its target) there twice.
    """
    shape = split.images.shape[1:]
    if path.is_dir():
        found = _of_folder(path, shape)
    elif path.suffix == ".npz":
        found = _of_npz(path)
    elif path.suffix in (".pt", ".pth"):
        found = _of_tensors(path)
    else:
        raise PipelineError(f"{path}: expected an .npz, a .pt, or a folder of images")
    if not {IMAGES, ROWS} <= found.keys() <= {IMAGES, ROWS, TARGETS}:
        wanted = f"{IMAGES}, {ROWS} and maybe {TARGETS}"
        raise PipelineError(f"{path}: expected arrays {wanted}, found {', '.join(map(str, found)) or 'none'}")
    images = _checked_images(path, found[IMAGES], shape)
    rows = _numbers(path, ROWS, found[ROWS], len(images), len(split.labels), "of the test split's images")
    targets = None
    if TARGETS in found:
        targets = _numbers(path, TARGETS, found[TARGETS], len(images), classes, "classes")
        if (same := np.flatnonzero(targets == split.labels[rows])).size:
            place = f"{TARGETS}[{same[0]}]"
            raise PipelineError(
                f"{path}: {place}: expected another class than the original's, found {targets[same[0]]}"
            )
    keys = rows if targets is None else rows * classes + targets
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = rows[first[counts > 1][0]]
        once = "once" if targets is None else "once towards a target"
        raise PipelineError(f"{path}: expected each original {once}, found row {row} again")
    return Imported(images, rows, targets)


def _of_npz(path: Path) -> dict[str, Any]:
    with opened(path) as file:
        found = {name: file[name] for name in file.files}
    if others := [name for name, value in found.items() if not isinstance(value, np.ndarray)]:
        raise PipelineError(f"{path}: expected an .npz of arrays alone, found {', '.join(others)}")
    return found


def _of_tensors(path: Path) -> dict[str, Any]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the file's own content; an unpickling one is what `weights_only` refuses
        if type(error).__name__ == "UnpicklingError":
            raise PipelineError(f"{path}: expected tensors, found Python objects: {HOW_TO_SAVE}") from None
        raise PipelineError(f"{path}: expected a file of torch.save: {' '.join(str(error).split())}") from None
    if not isinstance(found, Mapping) or not all(map(_is_dense, found.values())):
        raise PipelineError(f"{path}: expected a dict of dense tensors, found {type(found).__name__}: {HOW_TO_SAVE}")
    plain = {name: value.float() if value.is_floating_point() else value for name, value in found.items()}
    return {name: value.detach().numpy() for name, value in plain.items()}


def _is_dense(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided


def _of_folder(path: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """Images called <row>.png or <row>_<target>.png, all in one way."""
    named = {file: NAME.fullmatch(file.stem) for file in files_of(path)}
    if not named:
        raise PipelineError(f"{path}: expected images <row>.png or <row>_<target>.png, found none")
    rows, targets, images = [], [], []
    for file, match in named.items():
        if not match:
            raise PipelineError(f"{file}: expected a name <row>.png or <row>_<target>.png")
        rows.append(int(match[1]))
        targets += [int(match[2])] if match[2] else []
        pixels = decode(file, str(file))
        image = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if image.shape != shape:
            raise PipelineError(f"{file}: expected an image {_sides(shape)}, found {_sides(image.shape)}")
        images.append(image)
    if targets and len(targets) != len(rows):
        raise PipelineError(f"{path}: expected names of one kind, found <row> and <row>_<target>")
    numbers = {ROWS: rows, **({TARGETS: targets} if targets else {})}
    return {IMAGES: np.stack(images), **{name: np.array(values) for name, values in numbers.items()}}


def _checked_images(path: Path, images: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Of (n, c, h, w), (n, h, w, c) or, where c is 1, (n, h, w)."""
    channels, height, width = shape
    if images.shape[1:] == (height, width, channels) != shape:
        images = images.transpose(0, 3, 1, 2)
    elif channels == 1 and images.shape[1:] == (height, width):
        images = images[:, None]
    if images.ndim != 4 or images.shape[1:] != shape or not len(images):
        wanted = f"(n, {', '.join(map(str, shape))})"
        raise PipelineError(f"{path}: {IMAGES}: expected {wanted}, found {images.shape}")
    if images.dtype == np.uint8:
        return unit_interval(images)
    if images.dtype.kind != "f":
        raise PipelineError(f"{path}: {IMAGES}: expected uint8 or floats in [0, 1], found {images.dtype}")
    if not (finite := np.isfinite(images).reshape(len(images), -1).all(1)).all():
        raise PipelineError(f"{path}: {IMAGES}[{np.flatnonzero(~finite)[0]}]: expected numbers, found NaN or infinity")
    if images.min() < 0 or images.max() > 1:
        found = f"{images.min():g} to {images.max():g}"
        raise PipelineError(f"{path}: {IMAGES}: expected values in [0, 1], found {found}: divide or clip them")
    return np.ascontiguousarray(images, np.float32)


def _numbers(path: Path, name: str, values: NDArray[Any], count: int, end: int, of: str) -> NDArray[np.int64]:
    """(n,) whole numbers from 0 to `end`, which is left out."""
    if values.shape != (count,) or values.dtype.kind not in "iu":
        wanted = f"expected {count} whole numbers, one an image"
        raise PipelineError(f"{path}: {name}: {wanted}, found {values.dtype} {values.shape}")
    if (wrong := np.flatnonzero((values < 0) | (values >= end))).size:
        raise PipelineError(f"{path}: {name}[{wrong[0]}]: expected 0 to {end - 1}, {of}, found {values[wrong[0]]}")
    return values.astype(np.int64)


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def write_imported(out: Path, found: Imported, split: Split, model: nn.Module, identity: Identity) -> None:
    """Write the images as a set: in its order, judged as they are stored.

    The target of one that was made for any class is the class that the model sees, or if it sees the original's the
    next best. Originals that the model gets wrong are no originals of a set: their images are left aside, and counted
    in the set's params. model : ready for inference.

    Raises LeftOut if no image is left, or none fools the model.
    """
    device = next(model.parameters()).device
    size = batching(device, split.images.shape[1:]).predict
    rows, place = np.unique(found.original_rows, return_inverse=True)
    seen = predict(model, torch.from_numpy(split.images[rows]), size).argmax(1).cpu().numpy()
    kept = (seen == split.labels[rows])[place]
    if not kept.any():
        raise LeftOut(f"of its {len(rows)} originals the classifier gets none right")
    images, originals = found.images[kept], found.original_rows[kept]
    if found.target_labels is None:
        logits = predict(model, torch.from_numpy(images), size).cpu().numpy()
        logits[np.arange(len(images)), split.labels[originals]] = -np.inf
        targets = logits.argmax(1)
    else:
        targets = found.target_labels[kept]
    order = np.lexsort((targets, originals))
    rows, place = np.unique(originals[order], return_inverse=True)
    sources = Sources(
        originals=split.images[rows],
        source_split=np.full(len(rows), TEST, np.uint8),
        source_index=rows.astype(np.int32),
        original_row=place.astype(np.int32),
        labels=split.labels[originals[order]],
        target_labels=targets[order].astype(np.uint8),
    )
    about = {"targeted": found.target_labels is not None, "of_wrong_originals": int((~kept).sum())}
    blocks = (
        (part, images[order[part]], np.zeros(part.stop - part.start, np.int16))
        for part in blocks_of(len(order), images.shape[1:])
    )
    write_adversarial(out, replace(identity, params=identity.params | about), sources, blocks, margins_by(model))
    with open_adversarial(out) as set_:
        if not set_.is_adversarial.any():
            raise LeftOut(f"none of its {len(set_)} images fools the classifier")
