"""Which images are attacked, and towards which classes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.metrics.sources import every_target, select_sources, some_targets, turns


def test_sources_are_balanced_and_right() -> None:
    labels = np.arange(300, dtype=np.uint8) % 3
    pictures = np.arange(300, dtype=np.uint8).reshape(-1, 1, 1, 1)

    def classify(part: NDArray[np.uint8]) -> NDArray[np.int64]:
        values = part.ravel().astype(np.int64)
        return np.where(values % 2 == 0, values % 3, 9)  # right on even values of the first 256 images

    def select(count: int) -> NDArray[np.int64]:
        random = np.random.default_rng(0)
        return select_sources(pictures[:250], labels[:250], classify, count, ("a", "b", "c"), random, "here", block=7)

    chosen = select(30)
    assert (chosen % 2 == 0).all()
    assert np.bincount(labels[chosen]).tolist() == [10, 10, 10]
    assert (np.diff(chosen) > 0).all()
    with pytest.raises(PipelineError, match=r"here: expected 100 correctly classified.*a 42, b 41, c 42"):
        select(300)
    with pytest.raises(PipelineError, match="here: expected a multiple of 3"):
        select(31)


def test_some_targets_are_stratified_and_the_first_images_keep_theirs() -> None:
    labels = np.repeat(np.arange(5), 16).astype(np.uint8)
    order = np.random.default_rng(1).permutation(80)
    turn = turns(labels, order)
    assert all(sorted(turn[labels == label]) == list(range(16)) for label in range(5))
    rows, targets = some_targets(labels, turn, 5, 2, np.random.default_rng(3))
    np.testing.assert_array_equal(rows, np.repeat(np.arange(80), 2))
    assert not (targets == labels[rows]).any()
    assert (targets[::2] < targets[1::2]).all()  # two different ones, in order
    pairs = np.zeros((5, 5), int)
    np.add.at(pairs, (labels[rows], targets), 1)
    assert (pairs + 8 * np.eye(5, dtype=int) == 8).all()
    few = np.flatnonzero(turn < 3)
    fewer, theirs = some_targets(labels[few], turns(labels[few], order[few]), 5, 2, np.random.default_rng(3))
    assert [list(theirs[fewer == i]) for i in range(15)] == [list(targets[rows == row]) for row in few]
    everything = some_targets(labels, turn, 5, 4, np.random.default_rng(0))
    for found, wanted in zip(everything, every_target(labels, 5), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_every_target_but_the_label() -> None:
    rows, targets = every_target(np.array([2, 0], np.uint8), 3)
    assert rows.tolist() == [0, 0, 1, 1]
    assert targets.tolist() == [0, 1, 1, 2]
