"""Which images are attacked: class-balanced and correctly classified."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError


def select_sources(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    predict: Callable[[NDArray[np.uint8]], NDArray[np.int64]],
    count: int,
    class_names: tuple[str, ...],
    random: np.random.Generator,
    what: str,
    block: int = 1024,
) -> NDArray[np.int64]:
    """Sorted indices of `count` images, equally many per class, each predicted as its label.

    Images are looked at in a random order, `block` at a time, until every class is full.
    `predict` maps uint8 images to class numbers. Raises PipelineError naming the classes that have
    too few, with `what` naming the images.
    """
    classes = len(class_names)
    quota = quota_of(count, classes, what)
    order = random.permutation(len(labels))
    chosen: list[list[int]] = [[] for _ in range(classes)]
    for start in range(0, len(order), block):
        rows = order[start : start + block]
        for row in rows[predict(images[rows]) == labels[rows]]:
            if len(chosen[labels[row]]) < quota:
                chosen[labels[row]].append(int(row))
        if all(len(rows) == quota for rows in chosen):
            return np.sort(np.concatenate(chosen).astype(np.int64))
    short = [f"{name} {len(rows)}" for name, rows in zip(class_names, chosen, strict=True) if len(rows) < quota]
    raise PipelineError(
        f"{what}: expected {quota} correctly classified images in each class, found only: {', '.join(short)}: "
        f"{classes * min(map(len, chosen))} are there at most"
    )


def quota_of(count: int, classes: int, what: str) -> int:
    """How many of `count` images each class has. Raises PipelineError if they cannot be equally many."""
    if count % classes:
        raise PipelineError(f"{what}: expected a multiple of {classes} source images, found {count}")
    return count // classes


def every_target(labels: NDArray[np.uint8], classes: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """For m labels, the m * (classes - 1) pairs (row of the original, target label), in that order."""
    rows, targets = np.nonzero(labels[:, None] != np.arange(classes))
    return rows.astype(np.int32), targets.astype(np.uint8)


def turns(labels: NDArray[np.uint8], order: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """For images of these labels, int64 (m,): how many of its class come before each, in `order` (m,)."""
    found = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        found[rows[np.argsort(order[rows])]] = np.arange(len(rows))
    return found


def some_targets(
    labels: NDArray[np.uint8], turn: NDArray[np.int64], classes: int, count: int, random: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """As `every_target`, but `count` of the other classes for each label, in an order drawn at random for each class.

    turn : (m,), see `turns`. Stratified: of the images of a class each target gets as many as any other, or one more;
    the first ones of more images get what they get without the others.
    """
    targets = np.zeros((len(labels), count), np.int64)
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        others = random.permutation(np.delete(np.arange(classes), label))
        places = (turn[rows][:, None] * count + np.arange(count)) % (classes - 1)
        targets[rows] = np.sort(others[places], axis=1)
    original_row = np.repeat(np.arange(len(labels)), count)
    return original_row.astype(np.int32), targets.ravel().astype(np.uint8)


def one_row_per_original(original_row: NDArray[np.integer[Any]], random: np.random.Generator) -> NDArray[np.int64]:
    """For each original in order, the position of one of its rows, drawn at random."""
    order = random.permutation(len(original_row))
    _, first = np.unique(original_row[order], return_index=True)
    return order[first]
