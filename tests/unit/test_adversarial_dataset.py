"""A stored set as data loaders take it."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.adversarial_dataset import AdversarialDataset
from pipeline.errors import PipelineError
from tests.study import Study


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Study(tmp_path_factory.mktemp("study")).sets["minimal"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_rows_of_the_file(path: Path, workers: int) -> None:
    with h5py.File(path) as file:
        test = file["source_split"][:][file["original_row"][:]] == 1
        rows = np.flatnonzero(file["is_adversarial"][:] & test)
        images, labels, targets = (file[name][:][rows] for name in ("images", "labels", "target_labels"))
        originals = file["originals"][:][file["original_row"][:][rows]] / np.float32(255)
    dataset = AdversarialDataset(path, "test")
    assert dataset.class_names == ("a", "b", "c")
    batches = list(DataLoader(dataset, batch_size=7, num_workers=workers))
    for name, expected in (("images", images), ("originals", originals)):
        found = torch.cat([getattr(batch, name) for batch in batches])
        np.testing.assert_array_equal(found.numpy(), expected)
    assert torch.cat([batch.labels for batch in batches]).tolist() == labels.tolist()
    assert torch.cat([batch.target_labels for batch in batches]).tolist() == targets.tolist()


def test_all_rows_or_those_of_a_split(path: Path) -> None:
    every, fooled = AdversarialDataset(path, fooled=False), AdversarialDataset(path)
    assert (len(every), len(fooled)) == (300, 240)
    assert len(AdversarialDataset(path, "train")) + len(AdversarialDataset(path, "test")) == len(fooled)
    assert every[4].labels != every[4].target_labels


def test_what_is_no_set_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="split: expected one of: train, test, or None, found 'all'"):
        AdversarialDataset(path, "all")
    with pytest.raises(PipelineError, match="no such file"):
        AdversarialDataset(tmp_path / "gone.h5")
