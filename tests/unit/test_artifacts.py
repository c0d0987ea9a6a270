"""Files: written whole or not at all, the same bytes each time, and refused by name when broken."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import devices
from pipeline.artifacts import adversarial, generation, images
from pipeline.artifacts.adversarial import Identity
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.choices import read_choices, write_choices
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.files import replacing, replacing_folder
from pipeline.artifacts.found import Found, read_found, write_found
from pipeline.artifacts.generation import start_from_images
from pipeline.artifacts.metrics import read_metrics
from pipeline.artifacts.shards import ShardStore
from pipeline.artifacts.statistics import read_frame, write_frame
from pipeline.artifacts.weights import save_model
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack
from pipeline.errors import PipelineError
from pipeline.mapper import Advance
from pipeline.metrics.calibration import StepSizeTrial
from pipeline.metrics.choices import Choice
from pipeline.metrics.sources import every_target, select_sources, some_targets, turns
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference
from tests.root import ROOT
from tests.sets import make_set
from tests.study import Study


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    with replacing(path) as part:
        part.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as part:
        part.write_text("new, half-writ")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_set_round_trips_and_is_byte_stable(tmp_path: Path) -> None:
    sources, stored, margins = make_set(tmp_path / "a.h5")
    make_set(tmp_path / "b.h5")
    assert digest(tmp_path / "a.h5") == digest(tmp_path / "b.h5")
    with adversarial.open_adversarial(tmp_path / "a.h5") as found:
        np.testing.assert_array_equal(found.images(slice(None)), stored)
        np.testing.assert_array_equal(found.margin, margins)
        np.testing.assert_array_equal(found.is_adversarial, margins > 0)
        np.testing.assert_array_equal(found.sources.target_labels, sources.target_labels)
        expected = sources.originals[sources.original_row].astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(found.originals(slice(None)), expected)
        assert found.identity.params == {"step_size": 0.1}


def test_margins_are_measured_on_what_was_stored(tmp_path: Path) -> None:
    """`measure_margins` gets what the file holds: the writer is given float64, the file is float32."""
    seen = []

    def measure(stored: NDArray[np.float32], targets: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(stored.dtype)
        return np.zeros(len(stored), np.float32)

    sources, _, _ = make_set(tmp_path / "a.h5")

    def blocks() -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.int16]]]:
        count = len(sources.labels)
        yield slice(0, count), np.full((count, 1, 4, 4), 1 / 3), np.zeros(count, np.int16)

    identity = adversarial.Identity("toy", "minimal", {}, ("a", "b", "c"), 0)
    adversarial.write_adversarial(tmp_path / "b.h5", identity, sources, blocks(), measure)
    assert seen == [np.float32]
    with adversarial.open_adversarial(tmp_path / "b.h5") as found:
        assert not found.is_adversarial.any()  # a margin of exactly 0 is no success


def test_contract_of_the_adversarial_file(tmp_path: Path) -> None:
    make_set(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {
            "images", "originals", "original_row", "source_split", "source_index", "labels", "target_labels",
            "is_adversarial", "steps", "margin",
        }  # fmt: skip
        assert set(file.attrs) == {
            "schema", "schema_version", "dataset", "attack", "params", "class_names", "seed",
        }  # fmt: skip
        assert file["images"].chunks is None
        assert file["images"].compression is None


def test_label_and_target_never_equal() -> None:
    labels = np.array([0, 1], np.uint8)
    row = np.arange(2, dtype=np.int32)
    with pytest.raises(ValueError, match="target label"):
        adversarial.Sources(np.zeros((2, 1, 4, 4), np.uint8), labels, row, row, labels, labels)


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "version", "attribute", "dataset", "dtype", "rows"])
def test_broken_sets_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "set.h5"
    make_set(path)
    if kind == "missing":
        path.unlink()
    elif kind == "text":
        path.write_text("no HDF5")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:1500])
    else:
        with h5py.File(path, "r+") as file:
            if kind == "version":
                file.attrs["schema_version"] = 99
            elif kind == "attribute":
                del file.attrs["params"]
            elif kind in ("dataset", "dtype", "rows"):
                steps = file["steps"][:]
                del file["steps"]
                if kind == "dtype":
                    file["steps"] = steps.astype("int64")
                elif kind == "rows":
                    file["steps"] = steps[:-1]
    words = {
        "missing": "no such file", "text": "expected an HDF5 file", "truncated": "expected an HDF5 file",
        "version": "expected schema adversarial version 1, found adversarial version 99",
        "attribute": "expected a root attribute 'params'",
        "dataset": "expected a dataset 'steps'", "dtype": "'steps': expected int16, found int64",
        "rows": "'steps': expected 12 rows, found 11",
    }[kind]  # fmt: skip
    with pytest.raises(PipelineError, match=rf"set\.h5.*{words}"), adversarial.open_adversarial(path):
        pass


def test_images_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    splits = {
        name: images.Split(random.integers(0, 256, (5, 3, 4, 4), np.uint8), np.arange(5, dtype=np.uint8))
        for name in images.SPLITS
    }
    description = images.Description("toy", tuple("abcde"), "made up", "0" * 64)
    images.write_images(tmp_path / "toy.h5", description, splits)
    assert images.read_description(tmp_path / "toy.h5") == description
    np.testing.assert_array_equal(images.read_split(tmp_path / "toy.h5", "test").images, splits["test"].images)
    with pytest.raises(PipelineError, match="label 4 has no name"):
        images.write_images(tmp_path / "bad.h5", images.Description("toy", ("a",), "", ""), splits)
    assert not (tmp_path / "bad.h5").exists()
    with pytest.raises(PipelineError, match="expected schema adversarial version 1, found images version 1"):  # noqa: SIM117
        with adversarial.open_adversarial(tmp_path / "toy.h5"):
            pass


def test_classifier_round_trips_in_evaluation_mode(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier((3, 8, 8), 4, channels=(4, 8), dropout=0.5)
    model.set_normalization(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7]))
    save_model(tmp_path / "m.safetensors", model)
    save_model(tmp_path / "n.safetensors", model)
    assert digest(tmp_path / "m.safetensors") == digest(tmp_path / "n.safetensors")
    loaded = load_classifier(tmp_path / "m.safetensors")
    assert not any(module.training for module in loaded.modules())
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded(image), model.eval()(image))


def test_broken_classifiers_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(PipelineError, match="no such file"):
        load_classifier(path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(PipelineError, match="expected a safetensors file"):
        load_classifier(path)
    from safetensors.torch import save_file

    other = Classifier((1, 8, 8), 3, channels=(4,), dropout=0.0)
    other.architecture["channels"] = [8]
    save_model(path, other)
    with pytest.raises(PipelineError, match="expected the weights and architecture of a trained classifier") as caught:
        load_classifier(path)
    assert "\n" not in str(caught.value)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(PipelineError, match="expected the weights and architecture of a trained classifier"):
        load_classifier(path)


def test_a_mean_over_nothing_is_null_among_what_was_tried(tmp_path: Path) -> None:
    tried = [{"step_size": 0.1234567, "l2_mean": float("nan"), "images": 3}]
    write_choices(tmp_path / "choices.json", {"step_size": Choice(0.1, "the rule", tried)})
    found = read_choices(tmp_path / "choices.json")["step_size"].tried
    assert found == [{"step_size": 0.123457, "l2_mean": None, "images": 3}]


def test_frames_round_trip_and_are_byte_stable(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": np.array([1, 2], np.uint8), "l2": np.array([0.5, 1.5], np.float32)})
    for name in ("a", "b"):
        write_frame(tmp_path / f"{name}.parquet", frame, "pairs", {"dataset": "toy"})
    assert digest(tmp_path / "a.parquet") == digest(tmp_path / "b.parquet")
    found, about = read_frame(tmp_path / "a.parquet", "pairs")
    pd.testing.assert_frame_equal(found, frame)
    assert about == {"dataset": "toy"}
    with pytest.raises(PipelineError, match="expected schema examples version 1, found pairs version 1"):
        read_frame(tmp_path / "a.parquet", "examples")


def test_other_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("{")
    with pytest.raises(PipelineError, match="broken: expected JSON"):
        read_metrics(broken)
    with pytest.raises(PipelineError, match="broken: expected a Parquet file"):
        read_frame(broken, "pairs")
    broken.write_text("")
    with pytest.raises(PipelineError, match="broken: expected a CSV file"):
        read_curves(broken, StepSizeTrial.__dataclass_fields__)
    broken.write_text("a,b\n1,2\n")
    with pytest.raises(PipelineError, match=r"broken: expected the columns .*found no step_size"):
        read_curves(broken, StepSizeTrial.__dataclass_fields__)


def test_what_was_found_against_a_defense_round_trips(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    found = Found(
        images=random.uniform(size=(3, 1, 4, 4)).astype(np.float32),
        originals=random.integers(0, 256, (2, 1, 4, 4), np.uint8),
        original_row=np.array([0, 1, 1], np.int32),
        source_index=np.array([7, 9], np.int32),
        labels=np.array([1, 2, 2], np.uint8),
        is_adversarial=np.array([True, False, True]),
        nearest=np.array([False, False, True]),
    )
    write_found(tmp_path / "images.h5", "toy", "blur", found)
    for name, values in vars(read_found(tmp_path / "images.h5")).items():
        np.testing.assert_array_equal(values, getattr(found, name))


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


def test_what_a_killed_writer_left_is_deleted_and_a_live_ones_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for kind in ("file", "folder"):
        path, node = tmp_path / kind / "x", platform.node()
        dead, alive = (path.with_name(f"x.{node}-{pid}.part") for pid in (ended.pid, os.getppid()))
        for part in (dead, alive):
            part.mkdir(parents=True) if kind == "folder" else (part.parent.mkdir(exist_ok=True), part.write_text("p"))
        with (replacing_folder if kind == "folder" else replacing)(path) as part:
            (part / "inside" if kind == "folder" else part).write_text("whole")
        assert {found.name for found in path.parent.iterdir()} == {"x", alive.name}


LOCKING = """
import sys, time
from pathlib import Path
from pipeline.artifacts.files import locked

with locked(Path("it.lock"), "the thing"):
    print("in", flush=True)
    sys.stdin.readline()
    Path("log").open("a").write(sys.argv[1])
"""


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    def start(word: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", LOCKING, word], cwd=tmp_path, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    first = start("1")
    assert first.stdout.readline() == "in\n"  # type: ignore[union-attr]
    second = start("2")
    said = second.stderr.readline()  # type: ignore[union-attr]
    assert said == f"waiting for process {first.pid} on {platform.node()}, which makes the thing (it.lock)\n"
    second.stdin.write("\n")  # type: ignore[union-attr]
    second.stdin.flush()  # type: ignore[union-attr]
    first.kill()  # however it ends, its lock ends with it
    first.communicate()
    second.communicate()
    assert second.returncode == 0
    assert (tmp_path / "log").read_text() == "2"


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
