"""Artifacts: they come back as they were, the same bytes each time, and are refused by name when broken."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from pipeline.artifacts import adversarial, images
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.choices import read_choices, write_choices
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.files import REMEDY
from pipeline.artifacts.found import Found, read_found, write_found
from pipeline.artifacts.left_out import leave_out, reason_left_out
from pipeline.artifacts.metrics import read_metrics
from pipeline.artifacts.statistics import read_frame, write_frame
from pipeline.artifacts.weights import save_model
from pipeline.errors import PipelineError
from pipeline.metrics.calibration import StepSizeTrial
from pipeline.metrics.choices import Choice
from pipeline.models.cnn import Classifier
from tests.sets import make_set


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    ending = "run dvc repro" if kind == "missing" else REMEDY.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(PipelineError, match=rf"set\.h5.*{words}.*: {ending}$"), adversarial.open_adversarial(path):
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
    with pytest.raises(
        PipelineError,
        match=r"expected a safetensors file \(a trained classifier\), found something else or a truncated one: delete",
    ):
        load_classifier(path)
    from safetensors.torch import save_file

    other = Classifier((1, 8, 8), 3, channels=(4,), dropout=0.0)
    other.architecture["channels"] = [8]
    save_model(path, other)
    with pytest.raises(
        PipelineError, match=r"expected the weights and architecture of a trained classifier, .*: delete"
    ) as caught:
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
    with pytest.raises(
        PipelineError,
        match=r"broken: expected JSON \(metrics\), found something else or a truncated one: delete it, .*dvc repro$",
    ):
        read_metrics(broken)
    for text, found in (('{"run": {"study": "a"}}', "None"), ('{"run": {"protocol": 1}}', "1"), ("[]", "None")):
        broken.write_text(text)
        with pytest.raises(PipelineError, match=f"broken: expected figures as this code means them, .*found {found}:"):
            read_metrics(broken)
    broken.write_text("{")
    with pytest.raises(
        PipelineError,
        match=r"broken: expected a Parquet file \(pairs\), found something else or a truncated one: delete it",
    ):
        read_frame(broken, "pairs")
    broken.write_text("")
    with pytest.raises(
        PipelineError, match="broken: expected a CSV file, found something else or a truncated one: delete it"
    ):
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


def test_a_reason_is_read_back(tmp_path: Path) -> None:
    paths = [tmp_path / "set.h5", tmp_path / "folder", tmp_path / "table.parquet"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/old").touch()
    leave_out("too large", *paths)
    assert [reason_left_out(path) for path in paths[:2]] == ["too large", "too large"]
    assert not (tmp_path / "folder/old").exists()
    assert paths[2].is_file()
    assert reason_left_out(tmp_path / "gone") is None
    assert reason_left_out(tmp_path / "gone.h5") is None
    for text, words in (("{", r"expected JSON \(why something was left out\)"), ("[]", r"expected why .*, found \[\]")):
        (tmp_path / "folder/left_out.json").write_text(text)
        with pytest.raises(PipelineError, match=rf"left_out\.json: {words}.*: delete it, .*run dvc repro$"):
            reason_left_out(tmp_path / "folder")
