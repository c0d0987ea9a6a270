"""The pairs that an autoencoder learns from, read from adversarial sets."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.artifacts.pairs import open_pairs
from pipeline.errors import PipelineError
from tests.seeds import seeded
from tests.sets import make_set

CPU = torch.device("cpu")


def test_pairs_hold_fooled_train_images_and_no_others(tmp_path: Path) -> None:
    path, other = tmp_path / "minimal.h5", tmp_path / "extended.h5"
    sources, images, margins = make_set(path)
    shutil.copy(path, other)
    with h5py.File(other, "r+") as file:  # another set of the same originals, fooled elsewhere
        file["is_adversarial"][:] = file["is_adversarial"][:][::-1]
    wanted = np.array([True, False, False, False, True])  # originals 2 and 0 of the set; 1 is number 2
    train = (sources.original_row == 0) | (sources.original_row == 2)
    rows = [np.flatnonzero(train & (margins > 0)), np.flatnonzero(train & (margins[::-1] > 0))]
    assert not np.array_equal(*rows)
    both = np.concatenate(rows)
    with open_pairs([path, other], wanted, CPU) as pairs:
        np.testing.assert_array_equal(pairs.images(torch.arange(len(pairs))), images[both])
        np.testing.assert_array_equal(pairs.target_labels, sources.target_labels[both])
        np.testing.assert_array_equal(
            pairs.originals[pairs.original_row], sources.originals[sources.original_row[both]]
        )
        np.testing.assert_array_equal(pairs.labels[pairs.original_row], sources.labels[both])
        assert len(pairs.originals) == 2
    with open_pairs([path], wanted, CPU, originals=1) as pairs:
        assert len(pairs.originals) == 1
    with (
        pytest.raises(PipelineError, match="expected fooled images of the train split, found none"),
        open_pairs([path], np.zeros(5, bool), CPU),
    ):
        pass
    with pytest.raises(PipelineError, match="not of this images file"), open_pairs([path], np.ones(3, bool), CPU):
        pass


def test_an_original_is_on_one_side_of_the_validation_split(tmp_path: Path) -> None:
    path = tmp_path / "minimal.h5"
    sources, images, margins = make_set(path)
    held_out = np.array([False, False, True, False, False])
    with open_pairs([path], held_out, CPU) as validation, open_pairs([path], ~held_out, CPU) as training:
        kept = {image.numpy().tobytes() for image in validation.originals}
        seen = {image.numpy().tobytes() for image in training.originals}
        assert not kept & seen
        assert kept | seen == {image.tobytes() for image in sources.originals[sources.source_split == 0]}
        fooled = (sources.source_split[sources.original_row] == 0) & (margins > 0)
        assert len(validation) + len(training) == fooled.sum()
        found = torch.cat([part.images(torch.arange(len(part))) for part in (validation, training)])
        assert {image.numpy().tobytes() for image in found} == {image.tobytes() for image in images[fooled]}


def test_streamed_batches_are_those_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "minimal.h5"
    make_set(path)
    wanted = np.ones(5, bool)
    with open_pairs([path, path], wanted, CPU) as held, open_pairs([path, path], wanted, CPU, memory_limit=0) as read:
        rows = torch.randperm(len(held), generator=seeded())
        assert not isinstance(getattr(read.images, "__self__", None), Tensor)
        for part in (rows, rows[:1], rows[3:5]):
            assert torch.equal(held.images(part), read.images(part))
