"""Image folders, .npz files, and what must hold of images wherever they come from."""

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts.raw.decoding import decode
from pipeline.artifacts.raw.files import Listing, look_at
from pipeline.errors import PipelineError
from tests.raw import encoded, image_folder, picture, store, stored

pytestmark = pytest.mark.usefixtures("raw")
RANDOM = np.random.default_rng(0)


# --- folders ------------------------------------------------------------------------------------------------------
def test_a_folder_per_class_is_split_class_by_class(raw: Path, tmp_path: Path) -> None:
    image_folder(raw, {"b": 10, "a": 3, "c": 20}, RANDOM)
    (raw / "notes.txt").write_text("no image")
    (raw / ".cache").mkdir()
    description, splits = stored(tmp_path, "folder:mine", test_share=0.2)
    assert description.class_names == ("a", "b", "c")
    assert description.source == "image folder made (png)"
    assert np.bincount(splits["test"].labels).tolist() == [1, 2, 4]
    assert np.bincount(splits["train"].labels).tolist() == [2, 8, 16]
    assert splits["train"].images.shape[1:] == (3, 10, 9)
    with pytest.raises(PipelineError, match=r"images\.test_share: missing"):
        stored(tmp_path, "folder:mine")


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("train", "val"), ("Training", "TESTING")])
def test_folders_of_train_and_test(raw: Path, tmp_path: Path, train: str, test: str) -> None:
    image_folder(raw / train, {"a": 3, "b": 4}, RANDOM, channels=1)
    image_folder(raw / test, {"a": 1, "b": 2}, RANDOM, channels=1)
    description, splits = stored(tmp_path, "folder", raw="mine")
    assert sorted(splits["test"].labels) == [0, 1, 1]
    assert splits["train"].images.shape == (7, 1, 10, 9)
    first = np.asarray(Image.open(raw / train / "a/000.png"))
    (place,) = np.flatnonzero((splits["train"].images[:, 0] == first).all((1, 2)))
    assert splits["train"].labels[place] == 0
    assert ("as the test split" in description.source) == (test != "test")
    with pytest.raises(
        PipelineError, match=r"images\.test_share: expected none: .* comes with a test split; found 0\.2"
    ):
        stored(tmp_path, "folder:mine", test_share=0.2)


def test_classes_that_come_one_after_the_other_are_mixed(raw: Path, tmp_path: Path) -> None:
    """Later stages take the first so many originals. The same order each time; mixed ones stay as they are."""
    image_folder(raw / "train", {"a": 20, "b": 40}, RANDOM, channels=1)
    image_folder(raw / "test", {"a": 1, "b": 1}, RANDOM, channels=1)
    for number, path in enumerate(sorted((raw / "train").rglob("*.png"))):
        Image.fromarray(np.full((10, 9), number, np.uint8)).save(path)
    _, splits = stored(tmp_path, "folder:mine")
    found = splits["train"]
    assert 0 < found.labels[:20].sum() < 20
    assert (found.labels == (found.images[:, 0, 0, 0] >= 20)).all()
    assert sorted(found.images[:, 0, 0, 0]) == list(range(60))
    np.testing.assert_array_equal(stored(tmp_path, "folder:mine")[1]["train"].images, found.images)
    np.savez(tmp_path / "mine.npz", images=found.images[:, 0], labels=found.labels)
    _, again = stored(tmp_path, "npz:mine.npz", test_share=0.1)
    kept = again["train"].images[:, 0, 0, 0]
    assert kept.tolist() == [value for value in found.images[:, 0, 0, 0] if value in set(kept)]


@pytest.mark.parametrize("kind", ["empty", "one", "other classes", "broken", "size", "channels", "small", "alone"])
def test_wrong_folders_are_named(raw: Path, tmp_path: Path, kind: str) -> None:
    image_folder(raw / "train", {"a": 3, "b": 3}, RANDOM)
    image_folder(raw / "test", {"a": 1, "b": 1}, RANDOM)
    middle = raw / "train/b/001.png"
    more: dict[str, Any] = {}
    if kind == "empty":
        (raw / "train/c").mkdir()
        words = r"train/c: expected images \(\.bmp, .*\), found nothing"
    elif kind == "one":
        for split in ("train", "test"):
            (raw / split / "b").rename(tmp_path / f"{split}_b")
        words = "train: expected a folder per class, two at least; found a/"
    elif kind == "other classes":
        image_folder(raw / "test", {"c": 1}, RANDOM)
        words = "expected the same classes in train and test, found in one alone: c"
    elif kind == "broken":
        middle.write_bytes(middle.read_bytes()[:150])
        words = r"train/b/001\.png: expected a whole image"
    elif kind == "size":
        middle.write_bytes(encoded(picture(RANDOM, 12, 9)))
        words = (
            r"train/b/001\.png: expected 10x9 pixels .*, found 12x9: resize all with images\.size: \[height, width\]"
        )
    elif kind == "channels":
        middle.write_bytes(encoded(picture(RANDOM, channels=1)))
        words = r"train/b/001\.png: expected an RGB image as those before it, found a gray image: .*images\.channels: 1"
    elif kind == "small":
        more["size"] = (8, 8, 8)
        words = r"images\.size: expected \[height, width\], found \[8, 8, 8\]"
    else:
        image_folder(tmp_path / "lone", {"a": 1, "b": 5}, RANDOM)
        (raw / "train").rename(tmp_path / "gone")
        (raw / "test").rename(tmp_path / "gone too")
        (tmp_path / "lone").rename(raw / "train")
        more["test_share"] = 0.2
        words = f"{raw}: expected test images of every class, found none of: a"
    with pytest.raises(PipelineError, match=words):
        stored(tmp_path, "folder:mine", **more)
    assert not (tmp_path / "images.h5").exists()
    assert not list(tmp_path.glob("*.part"))


def test_images_are_resized_and_converted_as_the_study_says(raw: Path, tmp_path: Path) -> None:
    image_folder(raw / "train", {"a": 2, "b": 2}, RANDOM, 40, 24)
    image_folder(raw / "test", {"a": 1, "b": 1}, RANDOM, 20, 30, channels=1)
    flat = np.full((64, 64, 3), (10, 200, 30), np.uint8)
    Image.fromarray(flat).save(raw / "train/a/000.png")
    description, splits = stored(tmp_path, "folder:mine", size=(16, 12), channels=3)
    assert splits["train"].images.shape == (4, 3, 16, 12)
    assert splits["test"].images.shape == (2, 3, 16, 12)
    assert (splits["train"].images[0] == np.array([10, 200, 30])[:, None, None]).all()
    assert (splits["test"].images[:, 0] == splits["test"].images[:, 1]).all()
    assert description.source.endswith("; resized to 16x12 (bilinear, antialiased); RGB")
    # Every pixel of the picture counts: averages of noise, not samples of it.
    assert splits["train"].images[1].std() < 0.7 * picture(RANDOM, 16, 12).std()
    _, gray = stored(tmp_path, "folder:mine", size=(16, 12), channels=1)
    assert (gray["train"].images[0] == round(0.299 * 10 + 0.587 * 200 + 0.114 * 30)).all()


def test_too_small_images_and_too_many_classes_are_refused(raw: Path, tmp_path: Path) -> None:
    image_folder(raw, {"a": 2, "b": 2}, RANDOM, 7, 30)
    with pytest.raises(PipelineError, match=r"00\d\.png: expected at least 8x8 pixels, found 7x30"):
        stored(tmp_path, "folder:mine", test_share=0.5)
    np.savez(tmp_path / "many.npz", images=np.zeros((300, 8, 8), np.uint8), labels=np.arange(300))
    with pytest.raises(PipelineError, match="expected 2 to 256 classes, found 300"):
        stored(tmp_path, "npz:many.npz", test_share=0.5)


# --- .npz ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(12, 10, 9), (12, 10, 9, 1), (12, 10, 9, 3), (12, 3, 10, 9), (12, 1, 10, 9)])
@pytest.mark.parametrize("names", ["{split}_{kind}", "{letter}_{split}"])
def test_arrays_of_two_splits(raw: Path, tmp_path: Path, shape: tuple[int, ...], names: str) -> None:
    arrays = {}
    for split in ("train", "test"):
        for kind, letter, values in (
            ("images", "x", RANDOM.integers(0, 256, shape, np.uint8)), ("labels", "y", np.arange(12)[:, None] % 3),
        ):  # fmt: skip
            arrays[names.format(split=split, kind=kind, letter=letter)] = values
    np.savez_compressed(tmp_path / "mine.npz", **arrays)  # type: ignore[arg-type]
    _, splits = stored(tmp_path, "npz:mine.npz", class_names=("a", "b", "c"))
    channels = 3 if 3 in shape[1:] else 1
    assert splits["train"].images.shape == (12, channels, 10, 9)
    images = next(iter(arrays.values()))
    expected = images if len(shape) == 4 else images[..., None]
    expected = expected if expected.shape[1] in (1, 3) else expected.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(splits["train"].images, expected)
    assert splits["test"].labels.tolist() == [0, 1, 2] * 4


def test_arrays_of_one_split_with_labels_in_words(tmp_path: Path) -> None:
    images, labels = RANDOM.integers(0, 256, (20, 8, 16), np.uint8), np.array(["yes", "no"] * 10)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    description, splits = stored(tmp_path, "npz:mine.npz", test_share=0.3)
    assert description.class_names == ("no", "yes")
    assert np.bincount(splits["test"].labels).tolist() == [3, 3]


ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "floats": ({"images": np.zeros((4, 8, 8), np.float32)}, "images: expected uint8, values 0 to 255; found float32"),
    "16 bits": ({"images": np.zeros((4, 8, 8), np.uint16)}, "images: expected uint8, values 0 to 255; found uint16"),
    "shape": ({"images": np.zeros((4, 8, 8, 4), np.uint8)}, r"of 1 or 3 channels, found \(4, 8, 8, 4\)"),
    "number": ({"images": np.zeros((3, 8, 8), np.uint8)}, "expected as many images as labels in train, found 3 and 4"),
    "labels": (
        {"labels": np.eye(4)},
        r"labels: expected labels \(n,\), whole numbers or texts; found float64 \(4, 4\)",
    ),
    "names": ({"images": None, "other": np.zeros(3)}, "expected arrays train_images, .* found labels, other"),
    "one split": ({"x_train": np.zeros((4, 8, 8), np.uint8), "y_train": np.arange(4)}, "arrays of the test split too"),
    "objects": ({"labels": np.array([{}, 1, 2, 3], object)}, "expected an .npz of plain arrays, found Python objects"),
    "one class": ({"labels": np.zeros(4, int)}, "mine.npz: expected 2 to 256 classes, found 1"),
    "a gap": (
        {"labels": np.array([0, 2, 4, 4])},
        "mine.npz: expected each of the labels 0 to 4, found none of: 1, 3: number",
    ),
    "a large label": ({"labels": np.array([0, 1, 0, 10**12])}, "labels 0 to 1000000000000, found none of: 2, 3, 4"),
    "below": ({"labels": np.array([0, 1, 0, -1])}, "expected a label below 2, found -1"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_wrong_arrays_are_named(tmp_path: Path, kind: str) -> None:
    arrays = {
        "images": RANDOM.integers(0, 256, (4, 8, 8), np.uint8),
        "labels": np.array([0, 1, 0, 1]),
        **ARRAYS[kind][0],
    }
    np.savez(tmp_path / "mine.npz", **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(PipelineError, match=ARRAYS[kind][1]):
        stored(tmp_path, "npz:mine.npz", test_share=0.5)


def test_files_that_are_no_npz_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4))
    whole = (tmp_path / "mine.npz").read_bytes()
    for content in (b"nothing", whole[:-30], whole[:100] + bytes(200) + whole[300:]):
        (tmp_path / "mine.npz").write_bytes(content)
        with pytest.raises(PipelineError, match=r"mine\.npz: (expected an|cannot be read)"):
            stored(tmp_path, "npz:mine.npz", test_share=0.5)


# --- encoded images -----------------------------------------------------------------------------------------------
def saved(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def test_gray_palette_and_alpha() -> None:
    color, gray = picture(RANDOM), picture(RANDOM, channels=1)
    np.testing.assert_array_equal(decode(encoded(color), "x"), color)
    np.testing.assert_array_equal(decode(encoded(gray), "x"), gray)
    flags = Image.fromarray(gray > 100)
    np.testing.assert_array_equal(decode(saved(flags), "x"), (gray > 100) * np.uint8(255))
    palette = Image.fromarray(color).quantize(16)
    np.testing.assert_array_equal(decode(saved(palette), "x"), np.asarray(palette.convert("RGB")))
    for mode, pixels in (("RGBA", color), ("LA", gray)):
        with_alpha = Image.fromarray(pixels).convert(mode)
        np.testing.assert_array_equal(decode(saved(with_alpha), "x"), pixels)
        with_alpha.putpixel((0, 0), (0,) * len(with_alpha.getbands()))
        with pytest.raises(PipelineError, match="x: expected no transparent pixels, found some"):
            decode(saved(with_alpha), "x")
    with pytest.raises(PipelineError, match="x: expected no transparent pixels"):
        decode(saved(palette, transparency=0), "x")


def test_more_than_8_bits_and_other_channels_are_refused() -> None:
    deep = Image.fromarray(RANDOM.integers(0, 65536, (10, 9), np.uint16))
    for content in (saved(deep), saved(deep, "TIFF"), rgb_of_16_bits()):
        with pytest.raises(PipelineError, match="x: expected 8 bits a channel, found more"):
            decode(content, "x")
    with pytest.raises(PipelineError, match="x: expected a gray or RGB image, found CMYK"):
        decode(saved(Image.fromarray(picture(RANDOM)).convert("CMYK"), "JPEG"), "x")


def rgb_of_16_bits() -> bytes:
    """A PNG that Pillow cannot write, and reads with 8 bits without a word."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + RANDOM.integers(0, 256, 9 * 6, np.uint8).tobytes() for _ in range(10))
    header = struct.pack(">IIBBBBB", 9, 10, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- many files ---------------------------------------------------------------------------------------------------
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """30 MB of pixels, in files of a few bytes."""
    flat = [saved(Image.new("RGB", (100, 100), (n % 256, n // 256, 0))) for n in range(1000)]
    # Kept, for Python's table of names may double, by megabytes, at any new one.
    paths = [tmp_path / f"mine/{number % 2}/{number}.png" for number in range(len(flat))]
    for path, content in zip(paths, flat, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    tracemalloc.start()
    store(tmp_path, "folder:mine", test_share=0.5)
    assert tracemalloc.get_traced_memory()[1] < 12e6
    tracemalloc.stop()


def test_a_checksum_is_of_names_and_contents_and_is_remembered(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text(path.name)
    index = tmp_path / "index.json"
    first = look_at(Listing(paths), tmp_path, "made", index)
    assert (first.files, first.bytes) == (2, 2)
    assert look_at(Listing(paths), tmp_path, "made", index) == first
    os.utime(paths[0], (1, 1))
    assert look_at(Listing(paths), tmp_path, "made", index) == first
    paths[0].write_text("c")
    assert look_at(Listing(paths), tmp_path, "made", index).checksum != first.checksum
    index.write_text("nothing")
    paths[0].write_text("a")
    assert look_at(Listing(paths), tmp_path, "made", index) == first
    (tmp_path / "elsewhere").mkdir()
    moved = [path.rename(tmp_path / "elsewhere" / path.name) for path in paths]
    assert look_at(Listing(moved), tmp_path / "elsewhere", "made", index) == first
