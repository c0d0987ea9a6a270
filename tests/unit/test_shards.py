"""Shards: what was computed is kept, gone on with, and computed again where it is not what was stored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import devices
from pipeline.artifacts import generation
from pipeline.artifacts.adversarial import Identity
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.generation import start_from_images
from pipeline.artifacts.shards import ShardStore
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack
from pipeline.errors import PipelineError
from pipeline.mapper import Advance
from pipeline.models.inference import for_inference
from tests.study import Study


def test_shards_survive_and_are_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = []

    def compute(index: int, advance: Advance) -> dict[str, NDArray[np.int64]]:
        if index == 2 and len(made) == 2:
            raise KeyboardInterrupt
        made.append(index)
        return {"a": np.array([index])}

    store = ShardStore([], {"step": 1})
    with pytest.raises(KeyboardInterrupt):
        store.fill(4, compute)
    made.append(99)
    assert ShardStore([], {"step": 1}).fill(4, compute) == 2
    assert made == [0, 1, 99, 2, 3]
    assert [int(arrays["a"][0]) for arrays in store.load(4)] == [0, 1, 2, 3]
    assert ShardStore([], {"step": 2}).folder != store.folder
    store.clear()
    assert not store.folder.exists()


def test_work_that_maps_its_own_parts_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = []

    def make() -> dict[str, NDArray[np.uint8]]:
        made.append(1)
        return {"a.bin": np.frombuffer(b"bytes", np.uint8), "empty": np.frombuffer(b"", np.uint8)}

    for _ in range(2):
        found = ShardStore([], {"step": 1}).kept(0, make)
        assert {name: content.tobytes() for name, content in found.items()} == {"a.bin": b"bytes", "empty": b""}
    assert made == [1]


def test_studies_that_are_alike_keep_their_shards_apart(tmp_path: Path) -> None:
    """Each locks its own stages alone: the first to end would delete what the other still needs."""
    paths = [tmp_path / name for name in ("one/a.h5", "one/b.h5", "two/a.h5")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("the same")
    first, other, again = (ShardStore([path], {}).folder for path in paths)
    assert first == again != other


def test_an_interrupted_set_towards_other_targets_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, device, done = Study(tmp_path), torch.device("cpu"), []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(devices.TABLE, "cpu", replace(devices.TABLE["cpu"], block=5))
    model = for_inference(load_classifier(study.classifier), device)

    def make(targets: int, most: int) -> bytes:
        def shades(model: nn.Module, images: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
            if len(done) == most:
                raise KeyboardInterrupt
            done.append(targets)
            return (goal.labels / 10).view(-1, 1, 1, 1).expand_as(images), torch.ones_like(goal.labels)

        done.clear()
        start = start_from_images(study.images, model, {"test": 9}, 0, "toy", "sources", targets)
        identity, out = Identity("toy", "shades", {}, start.class_names, 0), tmp_path / "set.h5"
        make_shades = Attack(run=shades, budget=None)
        generation.make_set(out, "shades", make_shades, {}, start, model, study.classifier, identity, "toy")
        return out.read_bytes()

    expected = make(1, 9)
    with pytest.raises(KeyboardInterrupt):
        make(2, 1)
    assert make(1, 9) == expected
    assert done == [1, 1]


@pytest.mark.parametrize("spoiled", ["truncated", "empty", "flipped", "another's", "another run's", "no shard", "gone"])
def test_a_shard_that_is_not_as_it_was_stored_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = []

    def compute(index: int, advance: Advance) -> dict[str, NDArray[np.int64]]:
        made.append(index)
        return {"a": np.arange(9) + index, "nothing": np.zeros((0, 2))}

    store, other = ShardStore([], {"step": 1}), ShardStore([], {"step": 2})
    store.fill(3, compute)
    other.fill(3, compute)
    path = store.folder / "00001.safetensors"
    whole = path.read_bytes()
    if spoiled == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "truncated": whole[:-3],
                "empty": b"",
                "flipped": whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
                "another's": (store.folder / "00000.safetensors").read_bytes(),
                "another run's": (other.folder / path.name).read_bytes(),
                "no shard": b"no safetensors",
            }[spoiled]
        )
    with pytest.raises(PipelineError, match=r"00001.safetensors: expected what was stored there"):
        list(store.load(3))
    made.clear()
    assert store.fill(3, compute) == 2
    assert made == [1]
    assert path.read_bytes() == whole
