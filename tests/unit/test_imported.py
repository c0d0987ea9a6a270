"""Adversarial images that were made elsewhere: read as they come, refused where they are wrong, stored as a set."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.adversarial import Identity
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.imported import read_imported, write_imported
from pipeline.errors import LeftOut, PipelineError
from pipeline.models.inference import for_inference, predict
from tests.study import NAMES, Study

IDENTITY = Identity("toy", "theirs", {"method": "imported", "file": "theirs.npz"}, NAMES, 0)
Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("toy"))


def made(study: Study, rows: list[int], size: int = 120) -> Arrays:
    """Test images with the band of the next class lit up instead of their own, uint8."""
    test = study.splits["test"]
    images, targets = test.images[rows].astype(int), (test.labels[rows] + 1) % 3
    for image, label, target in zip(images, test.labels[rows], targets, strict=True):
        image[:, 2 * label : 2 * label + 2] -= size
        image[:, 2 * target : 2 * target + 2] += size
    return {
        "images": images.clip(0, 255).astype(np.uint8),
        "original_rows": np.array(rows),
        "target_labels": targets.astype(np.int64),
    }


def as_npz(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "theirs.npz", **arrays)
    return folder / "theirs.npz"


def as_tensors(folder: Path, arrays: Arrays) -> Path:
    tensors = {name: torch.as_tensor(values) for name, values in arrays.items()}
    if tensors["images"].is_floating_point():
        tensors["images"].requires_grad_()  # as an attack leaves them
    torch.save(tensors, folder / "theirs.pt")
    return folder / "theirs.pt"


def as_folder(folder: Path, arrays: Arrays) -> Path:
    place = folder / "theirs"
    place.mkdir()
    targets = arrays.get("target_labels", [None] * len(arrays["images"]))
    for image, row, target in zip(arrays["images"], arrays["original_rows"], targets, strict=True):
        Image.fromarray(image[0]).save(place / (f"{row}.png" if target is None else f"{row}_{target}.png"))
    return place


def stored(study: Study, path: Path, out: Path) -> dict[str, Any]:
    """The set as it is written: its datasets, and the params that it has."""
    split = study.splits["test"]
    model = for_inference(load_classifier(study.classifier), torch.device("cpu"))
    write_imported(out, read_imported(path, split, len(NAMES)), split, model, IDENTITY)
    with h5py.File(out) as file:
        found: dict[str, Any] = {name: file[name][:] for name in file}
        return found | {"params": file.attrs["params"]}


def logits(study: Study, images: NDArray[Any]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = predict(load_classifier(study.classifier), torch.from_numpy(images), 50).numpy()
    return found


@pytest.mark.parametrize("save", [as_npz, as_tensors, as_folder])
@pytest.mark.parametrize("targeted", [True, False])
def test_they_become_a_set_measured_as_they_are_stored(
    toy: Study, tmp_path: Path, save: Callable[[Path, Arrays], Path], targeted: bool
) -> None:
    test = toy.splits["test"]
    right = np.flatnonzero(logits(toy, test.images).argmax(1) == test.labels)[:12]
    arrays = made(toy, right[::-1].tolist())
    arrays["images"][:4] = test.images[right[::-1][:4]]  # these fool nobody
    if not targeted:
        del arrays["target_labels"]
    found = stored(toy, save(tmp_path, arrays), tmp_path / "set.h5")
    np.testing.assert_array_equal(found["source_index"], right)
    np.testing.assert_array_equal(found["original_row"], np.arange(12))
    np.testing.assert_array_equal(found["originals"], test.images[right])
    np.testing.assert_array_equal(found["images"], arrays["images"][::-1] / np.float32(255))
    np.testing.assert_array_equal(found["labels"], test.labels[right])
    seen = logits(toy, found["images"])
    if targeted:
        np.testing.assert_array_equal(found["target_labels"], arrays["target_labels"][::-1])
    else:
        others = np.where(np.arange(3) == found["labels"][:, None], -np.inf, seen)
        np.testing.assert_array_equal(found["target_labels"], others.argmax(1))
        np.testing.assert_array_equal(found["is_adversarial"], seen.argmax(1) != found["labels"])
    rows = np.arange(12)
    rivals = np.where(np.arange(3) == found["target_labels"][:, None], -np.inf, seen).max(1)
    np.testing.assert_allclose(found["margin"], seen[rows, found["target_labels"]] - rivals, atol=1e-5)
    np.testing.assert_array_equal(found["is_adversarial"], found["margin"] > 0)
    assert not found["is_adversarial"][-4:].any()
    assert found["is_adversarial"].any()
    assert set(found["source_split"]) == {1}
    assert not found["steps"].any()
    said = f'"of_wrong_originals":0,"targeted":{"true" if targeted else "false"}'
    assert found["params"] == f'{{"file":"theirs.npz","method":"imported",{said}}}'


def test_floats_and_other_orders_of_axes_are_the_same_images(toy: Study, tmp_path: Path) -> None:
    arrays = made(toy, [3, 5, 8])
    plain = read_imported(as_npz(tmp_path, arrays), toy.splits["test"], 3)
    for images in (
        arrays["images"] / 255,
        arrays["images"][:, 0],
        arrays["images"].transpose(0, 2, 3, 1),
        (arrays["images"] / 255).astype(np.float32)[:, 0],
    ):
        again = read_imported(as_npz(tmp_path, arrays | {"images": images}), toy.splits["test"], 3)
        np.testing.assert_allclose(again.images, plain.images, atol=1e-7)
        assert again.images.dtype == np.float32
    half = read_imported(
        as_tensors(tmp_path, arrays | {"images": torch.ones(3, 1, 8, 8).bfloat16()}), toy.splits["test"], 3
    )
    assert (half.images == 1).all()


def test_originals_that_are_wrong_anyway_are_left_aside_and_counted(toy: Study, tmp_path: Path) -> None:
    path = as_npz(tmp_path, made(toy, [0, 1, 2, 3]))
    spoiled = toy.splits["test"].labels.copy()
    try:
        toy.splits["test"].labels[1] = (spoiled[1] + 2) % 3  # so that the classifier is wrong, and the target is not
        found = stored(toy, path, tmp_path / "set.h5")
        assert found["source_index"].tolist() == [0, 2, 3]
        assert '"of_wrong_originals":1' in found["params"]
        toy.splits["test"].labels[:4] = (spoiled[:4] + 2) % 3
        with pytest.raises(LeftOut, match="of its 4 originals the classifier gets none right"):
            stored(toy, path, tmp_path / "set.h5")
    finally:
        toy.splits["test"].labels[:] = spoiled


def test_images_that_fool_nobody_are_left_out_with_that_reason(toy: Study, tmp_path: Path) -> None:
    with pytest.raises(LeftOut, match="none of its 3 images fools the classifier"):
        stored(toy, as_npz(tmp_path, made(toy, [0, 1, 2], size=0)), tmp_path / "set.h5")


def changed(name: str, value: Any) -> Callable[[Study, Path], Path]:
    def save(study: Study, folder: Path) -> Path:
        arrays = made(study, [3, 5, 8])
        arrays[name] = value(arrays[name]) if callable(value) else value
        return as_npz(folder, arrays)

    return save


def without(name: str) -> Callable[[Study, Path], Path]:
    def save(study: Study, folder: Path) -> Path:
        arrays = made(study, [3, 5, 8])
        del arrays[name]
        return as_npz(folder, arrays)

    return save


def written(name: str, content: bytes) -> Callable[[Study, Path], Path]:
    def save(study: Study, folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return save


def pickled(study: Study, folder: Path) -> Path:
    torch.save({"images": Path("x"), "original_rows": torch.zeros(3)}, folder / "theirs.pt")
    return folder / "theirs.pt"


def sparse(study: Study, folder: Path) -> Path:
    torch.save({"images": torch.eye(3).to_sparse(), "original_rows": torch.zeros(3)}, folder / "theirs.pt")
    return folder / "theirs.pt"


def zipped(study: Study, folder: Path) -> Path:
    path = as_npz(folder, made(study, [3, 5, 8]))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("notes", b"not an array")
    return path


def listed(study: Study, folder: Path) -> Path:
    torch.save([torch.zeros(3)], folder / "theirs.pt")
    return folder / "theirs.pt"


def beside(name: str, content: bytes | NDArray[np.uint8]) -> Callable[[Study, Path], Path]:
    """A folder of images, and one more file in it."""

    def save(study: Study, folder: Path) -> Path:
        place = as_folder(folder, made(study, [3, 5, 8]))
        if isinstance(content, bytes):
            (place / name).write_bytes(content)
        else:
            Image.fromarray(content).save(place / name)
        return place

    return save


def alone(study: Study, folder: Path) -> Path:
    with open(folder / "theirs.npz", "wb") as file:
        np.save(file, study.splits["test"].images)
    return folder / "theirs.npz"


def empty(study: Study, folder: Path) -> Path:
    (folder / "theirs").mkdir()
    return folder / "theirs"


def spoiled(images: NDArray[np.uint8], value: float) -> NDArray[np.float64]:
    found = images / 255
    found[1, 0, 2, 2] = value
    return found


REFUSED: list[tuple[Callable[[Study, Path], Path], str]] = [
    (changed("images", lambda images: images[:, :, :7]), r"images: expected \(n, 1, 8, 8\), found \(3, 1, 7, 8\)"),
    (changed("images", lambda images: images[:0]), r"images: expected \(n, 1, 8, 8\), found \(0, 1, 8, 8\)"),
    (changed("images", lambda images: images.astype(int)), r"expected uint8 or floats in \[0, 1\], found int64"),
    (
        changed("images", lambda images: spoiled(images, np.nan)),
        r"images\[1\]: expected numbers, found NaN or infinity",
    ),
    (changed("images", lambda images: spoiled(images, 1.5)), r"expected values in \[0, 1\], found 0.* to 1\.5"),
    (changed("images", lambda images: spoiled(images, -1e-9)), r"expected values in \[0, 1\], found -1e-09 to 0"),
    (changed("images", lambda images: images.astype(object)), "expected an .npz of plain arrays, found Python objects"),
    (
        changed("original_rows", [3, 30, 8]),
        r"original_rows\[1\]: expected 0 to 29, of the test split's images, found 30",
    ),
    (changed("original_rows", [3, -1, 8]), r"original_rows\[1\]: expected 0 to 29, .*, found -1"),
    (changed("original_rows", [3, 5]), r"original_rows: expected 3 whole numbers, one an image, found int64 \(2,\)"),
    (changed("original_rows", [3.0, 5.0, 8.0]), r"original_rows: expected 3 whole numbers, .*, found float64 \(3,\)"),
    (changed("original_rows", [3, 8, 8]), "expected each original once towards a target, found row 8 again"),
    (changed("target_labels", [1, 3, 0]), r"target_labels\[1\]: expected 0 to 2, classes, found 3"),
    (changed("target_labels", [1, 2, 2]), r"target_labels\[1\]: expected another class than the original's, found 2"),
    (changed("rows", [3, 5, 8]), "expected arrays images, original_rows and maybe target_labels, found images, .*rows"),
    (without("original_rows"), "expected arrays images, original_rows and maybe target_labels, found images, target"),
    (written("theirs.npz", b"no zip"), "theirs.npz: expected an .npz of plain arrays, found "),
    (written("theirs.npz", b"PK\x03\x04 cut short"), "theirs.npz: cannot be read: "),
    (written("theirs.csv", b"1,2"), "theirs.csv: expected an .npz, a .pt, or a folder of images"),
    (written("theirs.pt", b"nothing"), "theirs.pt: expected "),
    (pickled, r"theirs\.pt: expected tensors, found Python objects: torch\.save\(\{"),
    (listed, r"theirs\.pt: expected a dict of dense tensors, found list: torch\.save\(\{"),
    (sparse, r"theirs\.pt: expected a dict of dense tensors, found dict"),
    (alone, "theirs.npz: expected an .npz of arrays, found a single array"),
    (zipped, "theirs.npz: expected an .npz of arrays alone, found notes"),
    (empty, r"theirs: expected images <row>\.png or <row>_<target>\.png, found none"),
    (beside("7.png", np.zeros((8, 8), np.uint8)), "theirs: expected names of one kind, found <row> and <row>_<target>"),
    (beside("cat.png", np.zeros((8, 8), np.uint8)), r"theirs/cat\.png: expected a name <row>\.png or <row>_<target>"),
    (beside("7_0.png", np.zeros((9, 8), np.uint8)), r"theirs/7_0\.png: expected an image 1x8x8, found 1x9x8"),
    (beside("7_0.png", np.zeros((8, 8, 3), np.uint8)), r"theirs/7_0\.png: expected an image 1x8x8, found 3x8x8"),
    (beside("7_0.png", b"nothing"), r"theirs/7_0\.png: expected an encoded image, found other bytes"),
]


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(("save", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_wrong_is_refused_in_one_line(
    toy: Study, tmp_path: Path, save: Callable[[Study, Path], Path], words: str
) -> None:
    path = save(toy, tmp_path)
    with pytest.raises(PipelineError, match=words) as caught:
        read_imported(path, toy.splits["test"], len(NAMES))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)
