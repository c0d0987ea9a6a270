"""Raw files: every layout that is read, and what is said when they are missing, wrong or unreachable."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from pipeline.artifacts import raw_images
from pipeline.artifacts.raw_images import read_cifar10, read_digits, read_mnist
from pipeline.errors import PipelineError

NAMES = ["plane", "car"]


def test_digits_are_split_class_by_class() -> None:
    description, splits = read_digits(0.2, np.random.default_rng(0))
    assert splits["train"].images.shape[1:] == (1, 8, 8)
    assert len(splits["train"].labels) + len(splits["test"].labels) == 1797
    for label in range(10):
        test, train = ((splits[s].labels == label).sum() for s in ("test", "train"))
        assert test == round((test + train) * 0.2)
    assert splits["train"].images.max() == 255
    assert description.dataset == "digits"


def idx_file(images: bool, random: np.random.Generator) -> bytes:
    if images:
        header = np.array([2051, 3, 28, 28], ">i4").tobytes()
        return header + random.integers(0, 256, 3 * 28 * 28, np.uint8).tobytes()
    return np.array([2049, 3], ">i4").tobytes() + bytes([1, 0, 2])


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small idx files, and their MD5 sums in the place of MNIST's."""
    random = np.random.default_rng(0)
    sums = {}
    folder = tmp_path / "mnist" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for key, (name, _) in raw_images.MNIST_FILES.items():
        content = idx_file(key[1] == "images", random)
        (folder / name).write_bytes(content)
        sums[key] = (name, raw_images.hashlib.md5(content).hexdigest())
    monkeypatch.setattr(raw_images, "MNIST_FILES", sums)
    return tmp_path / "mnist"


def test_idx_files_plain_and_gzipped_are_the_same(mnist: Path) -> None:
    plain_description, plain = read_mnist(mnist)
    for path in (mnist / "MNIST" / "raw").iterdir():
        (mnist / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    description, splits = read_mnist(mnist)
    assert description == plain_description
    for split in ("train", "test"):
        np.testing.assert_array_equal(splits[split].images, plain[split].images)
        assert splits[split].labels.tolist() == [1, 0, 2]


@pytest.mark.parametrize("kind", ["truncated", "missing", "wrong", "broken gz"])
def test_wrong_idx_files_are_named(mnist: Path, kind: str) -> None:
    path = mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[:-1])
    elif kind == "wrong":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    if kind == "broken gz":
        (mnist / f"{path.name}.gz").write_bytes(gzip.compress(content)[:-9])
    words = "truncated or not MNIST's: expected MD5" if kind in ("truncated", "wrong") else "t10k-images-idx3-ubyte"
    with pytest.raises(PipelineError, match=words):
        read_mnist(mnist)


def encoded(random: np.random.Generator, kind: str, side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def shard(path: Path, cells: list[Any], labels: list[int], column: str = "img") -> None:
    table = pyarrow.table({column: [{"bytes": cell, "path": None} for cell in cells], "label": labels})
    features = {"info": {"features": {"label": {"names": NAMES}}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)


@pytest.mark.parametrize("column", ["img", "image"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_parquet_of_one_or_several_shards(tmp_path: Path, column: str, kind: str) -> None:
    random = np.random.default_rng(0)
    cells = [encoded(random, kind) for _ in range(5)]
    shard(tmp_path / "data" / "train-00000-of-00002.parquet", cells[:2], [0, 1], column)
    shard(tmp_path / "data" / "train-00001-of-00002.parquet", cells[2:4], [1, 1], column)
    shard(tmp_path / "data" / "test-00000-of-00001.parquet", cells[4:], [0], column)
    description, splits = read_cifar10(tmp_path)
    assert description.class_names == tuple(NAMES)
    assert ("lossy JPEG" in description.source) == (kind == "JPEG")
    assert splits["train"].labels.tolist() == [0, 1, 1, 1]
    expected = np.asarray(Image.open(io.BytesIO(cells[2])))
    np.testing.assert_array_equal(splits["train"].images[2].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("kind", ["no test", "text", "columns", "no image", "size", "label", "null", "shard missing"])
def test_wrong_parquet_files_are_named(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "test.parquet"
    shard(tmp_path / "train.parquet", [encoded(random, "PNG")], [0])
    if kind == "text":
        path.write_text("no Parquet")
    elif kind == "columns":
        pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), path)
    elif kind == "no image":
        shard(path, [b"nothing"], [0])
    elif kind == "size":
        shard(path, [encoded(random, "PNG", 16)], [0])
    elif kind == "label":
        shard(path, [encoded(random, "PNG")], [-1])
    elif kind == "null":
        shard(path, [None], [0])
    elif kind == "shard missing":
        shard(tmp_path / "test-00001-of-00003.parquet", [encoded(random, "PNG")], [0])
    words = {
        "no test": r"expected test\*\.parquet, found none", "text": r"test\.parquet: expected a Parquet file",
        "columns": r"test\.parquet: expected columns img",
        "no image": r"test\.parquet: row 0: expected an encoded image",
        "label": "row 0: expected a label below 2, found -1",
        "null": "row 0: expected bytes, or a file",
        "shard missing": "expected 3 shards of test, found 1",
        "size": r"row 0: expected a 32x32 RGB image, found shape \(16, 16, 3\)",
    }[kind]  # fmt: skip
    with pytest.raises(PipelineError, match=words):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("kind", ["hashed name", "browser's copy", "by folder", "other fields"])
def test_parquet_files_as_people_have_them(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    cells, labels = [encoded(random, "PNG") for _ in range(2)], [0, 1]
    if kind == "by folder":  # as a converted data set's branch has them
        shard(tmp_path / "plain_text/train/0000.parquet", cells, labels)
        shard(tmp_path / "plain_text/test/0000.parquet", cells, labels)
        assert read_cifar10(tmp_path)[1]["train"].labels.tolist() == labels
        return
    shard(tmp_path / "test.parquet", cells, labels)
    if kind == "hashed name":
        shard(tmp_path / "train-00000-of-00005-b42d22f5ce0ddf8c.parquet", cells, labels)
        words = "expected 5 shards of train, found 1"
    elif kind == "browser's copy":
        shard(tmp_path / "train.parquet", cells, labels)
        shard(tmp_path / "train (1).parquet", cells, labels)
        words = "found the same twice"
    else:
        table = pyarrow.table({"img": [{"data": b"x", "name": "a"}], "label": [0]})
        pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
        words = "expected an image cell with the field bytes, found data, name"
    with pytest.raises(PipelineError, match=words):
        read_cifar10(tmp_path)


@pytest.mark.parametrize(("dataset", "read"), [("mnist", read_mnist), ("cifar10", read_cifar10)])
def test_without_files_and_network_the_three_ways_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, read: Any
) -> None:
    """torchvision's own download, with every address refused: a proxy on a closed port of this machine."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    folder = tmp_path / dataset
    with pytest.raises(PipelineError) as caught:
        read(folder)
    message = str(caught.value)
    for words in (dataset, str(folder), "DATASETS_DIR", f"data/raw/{dataset}/", "network"):
        assert words in message
    assert "\n" not in message
    assert not folder.exists()
