"""Hugging Face's Parquet layout as people have it, and what is said of files that are wrong."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from pipeline.errors import PipelineError
from tests.raw import CLASSES, encoded, picture, shard, stored

pytestmark = pytest.mark.usefixtures("raw")
RANDOM = np.random.default_rng(0)


def cells(count: int, kind: str = "PNG", **size: int) -> list[Any]:
    return [encoded(picture(RANDOM, **size), kind) for _ in range(count)]


@pytest.mark.parametrize("column", ["img", "image", "pixels"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_one_or_several_shards(raw: Path, tmp_path: Path, column: str, kind: str) -> None:
    train, names = cells(5, kind), (column, "label")
    shard(raw / "data/train-00000-of-00002.parquet", train[:2], [0, 1], names)
    shard(raw / "data/train-00001-of-00002.parquet", train[2:], [1, 1, 0], names)
    shard(raw / "data/test-00000-of-00001.parquet", cells(2, kind), [0, 1], names)
    description, splits = stored(tmp_path, "parquet:mine")
    assert description.class_names == tuple(CLASSES)
    assert description.source == f"Parquet files of made ({kind} encoded)"
    assert splits["train"].labels.tolist() == [0, 1, 1, 1, 0]
    expected = np.asarray(Image.open(io.BytesIO(train[3])))
    np.testing.assert_array_equal(splits["train"].images[3].transpose(1, 2, 0), expected)


LAYOUTS = {
    "hashed names": ("train-00000-of-00001-b42d22f5ce0ddf8c.parquet", "test-00000-of-00001-a1b2.parquet"),
    "refs/convert": ("default/train/0000.parquet", "default/test/0000.parquet"),
    "plain names": ("train.parquet", "test.parquet"),
    "validation": ("train.parquet", "validation.parquet"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_as_people_have_them(raw: Path, tmp_path: Path, layout: str) -> None:
    for name in LAYOUTS[layout]:
        shard(raw / name, cells(2), [0, 1])
    assert stored(tmp_path, "parquet:mine")[1]["train"].labels.tolist() == [0, 1]


def test_columns_are_told_by_their_features_or_named(raw: Path, tmp_path: Path) -> None:
    table = pyarrow.table(
        {"before": [b"x"] * 4, "seen": cells(4), "coarse": [0, 0, 1, 1], "fine": ["b", "a", "b", "a"]}
    )
    for split in ("train", "test"):
        path = raw / f"{split}.parquet"
        path.parent.mkdir(exist_ok=True)
        table = table.set_column(1, "seen", pyarrow.array(cells(4)))
        pyarrow.parquet.write_table(table, path)
    with pytest.raises(PipelineError, match=r"several columns may be images: \['before', 'seen'\]: name one with"):
        stored(tmp_path, "parquet:mine")
    with pytest.raises(PipelineError, match=r"several columns may be labels: \['coarse', 'fine'\]: name one with"):
        stored(tmp_path, "parquet:mine", image_column="seen")
    with pytest.raises(PipelineError, match=r"label_column: expected one of the columns .*, found 'gone'"):
        stored(tmp_path, "parquet:mine", image_column="seen", label_column="gone")
    description, splits = stored(tmp_path, "parquet:mine", image_column="seen", label_column="fine")
    assert description.class_names == ("a", "b")
    assert splits["test"].labels.tolist() == [1, 0, 1, 0]
    description, splits = stored(tmp_path, "parquet:mine", image_column="seen", label_column="coarse")
    assert description.class_names == ("0", "1")


def test_a_train_split_alone_is_split(raw: Path, tmp_path: Path) -> None:
    shard(raw / "train-00000-of-00002.parquet", cells(10), [0, 1] * 5)
    shard(raw / "train-00001-of-00002.parquet", cells(10), [0, 1] * 5)
    with pytest.raises(
        PipelineError,
        match=r"images\.test_share: missing: parquet:mine comes without a test split; expected a number in",
    ):
        stored(tmp_path, "parquet:mine")
    _, splits = stored(tmp_path, "parquet:mine", test_share=0.2)
    assert np.bincount(splits["test"].labels).tolist() == [2, 2]
    assert np.bincount(splits["train"].labels).tolist() == [8, 8]
    _, again = stored(tmp_path, "parquet:mine", test_share=0.2)
    np.testing.assert_array_equal(again["test"].images, splits["test"].images)


def test_images_may_lie_beside_the_shards(raw: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (raw / split).mkdir(parents=True)
        for number, content in enumerate(cells(2)):
            (raw / split / f"{number}.png").write_bytes(content)
        named = [{"bytes": None, "path": f"{split}/{number}.png"} for number in range(2)]
        shard(raw / f"{split}.parquet", named, [0, 1])
    assert stored(tmp_path, "parquet:mine")[1]["train"].images.shape == (2, 3, 10, 9)


WRONG: dict[str, tuple[dict[str, tuple[Any, Any]], str]] = {
    "no train": ({"test.parquet": (2, [0, 1])}, r"expected train\*\.parquet, found test\.parquet"),
    "no image": ({"train.parquet": ([b"nothing"], [0])}, r"train\.parquet: row 0: expected an encoded image"),
    "cut off": ({"train.parquet": ([cells(1)[0][:200]], [0])}, r"train\.parquet: row 0: expected a whole image"),
    "size": ({"train.parquet": (cells(1) + cells(1, height=12), [0, 1])}, "row 1: expected 10x9 pixels .*, found 12x9"),
    "label": ({"train.parquet": (2, [0, -1])}, "row 1: expected a label below 2, found -1"),
    "label above": ({"train.parquet": (2, [0, 5])}, "row 1: expected a label below 2, found 5"),
    "no label": ({"train.parquet": (2, [0, None])}, "row 1: expected a whole number or a text as label, found None"),
    "null": ({"train.parquet": ([None], [0])}, "row 0: expected bytes, or a file"),
    "other fields": (
        {"train.parquet": ([{"data": b"x", "name": "a"}], [0])},
        "row 0: expected an image cell with the field bytes, found data, name",
    ),
    "shard missing": ({"train-00001-of-00003-b42d.parquet": (2, [0, 1])}, "expected 3 shards of train, found 1"),
    "a shard too many": (
        {f"train-0000{n}-of-00002{end}.parquet": (2, [0, 1]) for n, end in ((0, "-a"), (0, "-b"))},
        r"expected shards 0 to 1 of train, found \[0, 0\]",
    ),
    "number missing": ({f"x/train/000{n}.parquet": (2, [0, 1]) for n in (0, 2)}, r"shards 0 to 2 of train, found \[0"),
    "part": ({"x/partial-train/0000.parquet": (2, [0, 1])}, "expected a whole data set, found a part of one"),
    "two": ({f"{x}/train/0000.parquet": (2, [0, 1]) for x in "ab"}, "the shards of train in one folder, found"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_are_named(raw: Path, tmp_path: Path, kind: str) -> None:
    files, words = WRONG[kind]
    for name, (content, labels) in files.items():
        shard(raw / name, cells(content) if isinstance(content, int) else content, labels)
    if kind not in ("no train", "part", "two"):
        shard(raw / ("x/test/0000.parquet" if kind == "number missing" else "test.parquet"), cells(2), [0, 1])
    with pytest.raises(PipelineError, match=words):
        stored(tmp_path, "parquet:mine")
    assert not (tmp_path / "images.h5").exists()


def test_other_wrong_files_are_named(raw: Path, tmp_path: Path) -> None:
    shard(raw / "train.parquet", cells(2), [0, 1])
    (raw / "test.parquet").write_text("no Parquet")
    with pytest.raises(PipelineError, match=r"test\.parquet: expected a Parquet file"):
        stored(tmp_path, "parquet:mine")
    pyarrow.parquet.write_table(pyarrow.table({"x": [1.0]}), raw / "test.parquet")
    with pytest.raises(PipelineError, match=r"test\.parquet: expected columns img"):
        stored(tmp_path, "parquet:mine")
    shard(raw / "test.parquet", cells(2), [0, 1], label={"names": ["car", "plane"]})
    with pytest.raises(
        PipelineError, match=r"expected the classes of train\.parquet, \['plane', 'car'\]; found \['car'"
    ):
        stored(tmp_path, "parquet:mine")


@pytest.mark.parametrize("copy", ["bytes", "rows"])
def test_a_browsers_copy_is_refused(raw: Path, tmp_path: Path, copy: str) -> None:
    """The same file twice; or the same rows, in another order."""
    images, labels = cells(4), [0, 1, 0, 1]
    shard(raw / "test.parquet", cells(2), [0, 1])
    shard(raw / "train.parquet", images, labels)
    order = slice(None, None, 1 if copy == "bytes" else -1)
    shard(raw / "train (1).parquet", images[order], labels[order])
    with pytest.raises(PipelineError, match="found the same twice"):
        stored(tmp_path, "parquet:mine")


def test_images_that_stand_twice_are_counted_and_a_test_split_of_them_refused(raw: Path, tmp_path: Path) -> None:
    train, test = cells(6), cells(4)
    train[5] = train[0]
    shard(raw / "train.parquet", train, [0, 1] * 3)
    shard(raw / "test.parquet", [train[1], *test[1:]], [1, 0, 1, 0])
    description, _ = stored(tmp_path, "parquet:mine")
    assert (description.repeated_train_images, description.test_images_in_train) == (1, 1)
    shard(raw / "test.parquet", [*train[:3], test[3]], [1, 0, 1, 0])
    with pytest.raises(PipelineError, match=r"mine: expected other images in the test split .* found 3 of 4"):
        stored(tmp_path, "parquet:mine")
