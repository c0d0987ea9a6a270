"""Data sets that are known by name: digits, MNIST, CIFAR-10, torchvision's. Small files in their real formats."""

import gzip
import inspect
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from torchvision.datasets.utils import download_url

from pipeline.artifacts.raw import idx, torchvision_sets
from pipeline.artifacts.raw.download import download
from pipeline.errors import PipelineError
from tests.published import COUNT, TEN, cifar10, cifar100, in_mnists_layout, md5, svhn, usps, write_idx
from tests.raw import encoded, shard, stored
from tests.root import ROOT


@pytest.fixture(autouse=True)
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all raw files; splits of our size are the known ones."""
    monkeypatch.setenv("DATASETS_DIR", str(tmp_path / "raw"))
    for name in torchvision_sets.KNOWN:
        monkeypatch.setitem(torchvision_sets.KNOWN, name, (COUNT, COUNT))
    return tmp_path / "raw"


def test_digits_are_split_class_by_class(tmp_path: Path) -> None:
    with pytest.raises(
        PipelineError, match=r"test_share: missing: digits comes without a test split; expected a number"
    ):
        stored(tmp_path, "digits")
    description, splits = stored(tmp_path, "digits", test_share=0.2)
    assert splits["train"].images.shape[1:] == (1, 8, 8)
    assert len(splits["train"].labels) + len(splits["test"].labels) == 1797
    for label in range(10):
        test, train = ((splits[s].labels == label).sum() for s in ("test", "train"))
        assert test == round((test + train) * 0.2)
    assert splits["train"].images.max() == 255
    assert (description.repeated_train_images, description.test_images_in_train) == (0, 0)


@pytest.fixture
def mnist(raw: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small idx files where torchvision keeps them, and their MD5 sums in the place of MNIST's."""
    content = write_idx(raw / "mnist/MNIST/raw")
    monkeypatch.setattr(idx, "MNIST_MD5", {key: md5(content[" ".join(key)]) for key in idx.FILES})
    return raw / "mnist"


def test_idx_files_plain_gzipped_and_with_dots_are_the_same(mnist: Path, tmp_path: Path) -> None:
    plain_description, plain = stored(tmp_path, "mnist")
    for path in (mnist / "MNIST/raw").iterdir():
        (mnist / f"{path.name.replace('-idx', '.idx')}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    for source in ("mnist", "torchvision:MNIST"):
        description, splits = stored(tmp_path, source)
        assert description == plain_description
        for split in ("train", "test"):
            np.testing.assert_array_equal(splits[split].images, plain[split].images)
            assert splits[split].labels.tolist() == TEN


@pytest.mark.parametrize("kind", ["truncated", "missing", "wrong", "broken gz", "lost bytes in gz"])
def test_wrong_idx_files_are_named(mnist: Path, tmp_path: Path, kind: str) -> None:
    path = mnist / "MNIST/raw/t10k-images-idx3-ubyte"
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[:-1])
    elif kind == "wrong":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    packed = gzip.compress(content)
    if kind == "broken gz":
        (mnist / f"{path.name}.gz").write_bytes(packed[:-9])
    elif kind == "lost bytes in gz":
        (mnist / f"{path.name}.gz").write_bytes(packed[:1000] + bytes(2000) + packed[3000:])
    words = "truncated or not MNIST's: expected MD5" if kind in ("truncated", "wrong") else "t10k-images-idx3-ubyte"
    with pytest.raises(PipelineError, match=words):
        stored(tmp_path, "mnist")


def test_the_idx_layout_serves_other_images(raw: Path, tmp_path: Path) -> None:
    write_idx(raw / "mine")
    by_raw, splits = stored(tmp_path, "idx", raw="mine")
    by_path, _ = stored(tmp_path, "idx:mine", class_names=tuple("abcdefghij"))
    assert by_raw.source_checksum == by_path.source_checksum
    assert by_raw.class_names == tuple("0123456789")
    assert by_path.class_names == tuple("abcdefghij")
    assert splits["test"].images.shape == (COUNT, 1, 28, 28)
    (raw / "mine/t10k-labels-idx1-ubyte").write_bytes(np.array([2049, 2], ">i4").tobytes() + bytes(2))
    with pytest.raises(PipelineError, match=f"expected as many images as labels in test, found {COUNT} images and 2 l"):
        stored(tmp_path, "idx:mine")


# --- torchvision's ------------------------------------------------------------------------------------------------
SETS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], object], tuple[int, int, int], tuple[str, ...]]] = {
    "CIFAR10": (cifar10, (3, 32, 32), ("class 0", "class 1")),
    "CIFAR100": (cifar100, (3, 32, 32), ("class 0", "class 1")),
    "SVHN": (svhn, (3, 32, 32), ("0", "1")),
    "USPS": (usps, (1, 16, 16), ("0", "1")),
    "FashionMNIST": (in_mnists_layout("FashionMNIST"), (1, 28, 28), ("T-shirt/top", "Trouser")),
    "KMNIST": (in_mnists_layout("KMNIST"), (1, 28, 28), ("o", "ki")),
    "EMNIST/letters": (in_mnists_layout("EMNIST", "emnist-letters-", 1), (1, 28, 28), ("a", "b")),
}


@pytest.mark.parametrize("name", SETS)
def test_sets_of_torchvision_are_read_where_they_lie(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write, shape, names = SETS[name]
    write(raw / name.partition("/")[0].lower(), monkeypatch)
    description, splits = stored(tmp_path, f"torchvision:{name}")
    assert splits["train"].images.shape == splits["test"].images.shape == (COUNT, *shape)
    classes = len(description.class_names)
    assert splits["train"].labels.tolist() == [number % classes for number in range(COUNT)]
    assert description.class_names[:2] == names
    assert description.source == f"torchvision's {name}"


def test_files_of_torchvision_that_are_wrong_are_named(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usps(raw / "usps", monkeypatch)
    with open(raw / "usps/usps.t.bz2", "ab") as file:
        file.write(b"x")
    with pytest.raises(PipelineError, match=r"usps: USPS: usps\.t\.bz2: expected MD5"):
        stored(tmp_path, "torchvision:USPS")
    write_idx(raw / "kmnist/KMNIST/raw")
    monkeypatch.setitem(torchvision_sets.KNOWN, "KMNIST", (60000, 10000))
    with pytest.raises(PipelineError, match=f"expected the 60000 images of its train split, found {COUNT}"):
        stored(tmp_path, "torchvision:KMNIST")
    with open(raw / "kmnist/KMNIST/raw/t10k-images-idx3-ubyte", "ab") as file:
        file.write(b"x")
    with pytest.raises(PipelineError, match="kmnist: KMNIST: "):
        stored(tmp_path, "torchvision:KMNIST")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("torchvision:Nonsense", "expected torchvision:<class>, .*, as CIFAR10, .*; found 'Nonsense'"),
        ("torchvision:EMNIST", "expected one of: torchvision:EMNIST/balanced, .*; found 'torchvision:EMNIST'"),
        ("torchvision:FakeData", "expected torchvision:<class>, a class with a train and a test split"),
        ("torchvision:KMNIST/letters", "expected torchvision:<class>, a class with a train and a test split"),
        ("torchvision", "images.source: expected one of: digits, mnist"),
        ("digits:x", "images.source: expected one of: digits, mnist"),
        ("folder", "images: expected a path, as folder:<path>; found 'folder'"),
        ("folder:../x", r"images.source: expected a path inside of .*, found '\.\./x'"),
        ("npz:/etc/passwd", "images.source: expected a path inside of .*, found '/etc/passwd'"),
        ("folder:gone", r"no raw files at .*gone .*Two ways: \(1\) set DATASETS_DIR"),
    ],
)
def test_sources_that_are_none_are_refused(raw: Path, tmp_path: Path, source: str, words: str) -> None:
    raw.mkdir()
    with pytest.raises(PipelineError, match=words):
        stored(tmp_path, source)
    assert not list(raw.iterdir())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "images in a folder per class"),
        ("parquet", r"Parquet files train\* and test\*"),
        ("idx", "MNIST's four idx files"),
    ],
)
@pytest.mark.parametrize("names", [(), ("a.txt", "b.txt")])
def test_a_folder_without_images_is_told_as_such(
    raw: Path, tmp_path: Path, kind: str, words: str, names: tuple[str, ...]
) -> None:
    (raw / "mine").mkdir(parents=True)
    for name in names:
        (raw / "mine" / name).write_text("text")
    found = ", ".join(names) or "nothing"
    with pytest.raises(PipelineError, match=rf"^{raw}/mine: expected {words} \(.*\), found {found}: "):
        stored(tmp_path, f"{kind}:mine")


def test_the_classes_that_are_served_are_torchvisions() -> None:
    """EMNIST hides the download among other arguments, and is served by name. All known counts are of these."""
    kinds = {name: kind for name, kind in vars(torchvision.datasets).items() if isinstance(kind, type)}
    taken = {name: set(inspect.signature(kind).parameters) for name, kind in kinds.items()}
    served = {name for name, words in taken.items() if "download" in words and words & {"train", "split"}}
    assert served | {"EMNIST"} == torchvision_sets.CLASSES
    assert {name.partition("/")[0] for name in torchvision_sets.KNOWN} <= torchvision_sets.CLASSES


def test_a_class_that_is_none_is_refused_before_torchvision_is_imported() -> None:
    refuse = "from tests.raw import stored; from pathlib import Path; stored(Path(), 'torchvision:MNSIT')"
    ended = "import sys; sys.excepthook = lambda _, error, __: print(error, 'torchvision' in sys.modules); "
    said = subprocess.run([sys.executable, "-c", ended + refuse], cwd=ROOT, capture_output=True, text=True).stdout
    assert said.endswith("found 'MNSIT' False\n")


def test_cifar10_comes_from_parquet_or_torchvisions_files(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar10(raw / "cifar10", monkeypatch)
    description, splits = stored(tmp_path, "cifar10")
    assert description.source == "CIFAR-10 python files, MD5-checked by torchvision"
    assert description.class_names[0] == "class 0"
    for kind, lossy in (("PNG", False), ("JPEG", True)):
        for split in ("train", "test"):
            cells = [encoded(image.transpose(1, 2, 0), kind) for image in splits[split].images]
            shard(raw / f"cifar10/{split}-00000-of-00001.parquet", cells, TEN, img={"_type": "Image"})
        found, same = stored(tmp_path, "cifar10")
        assert found.class_names[:2] == ("airplane", "automobile")
        assert ("lossy JPEG" in found.source) == lossy
        assert lossy or (same["train"].images == splits["train"].images).all()
    monkeypatch.setitem(torchvision_sets.KNOWN, "CIFAR10", (50000, 10000))
    with pytest.raises(PipelineError, match=f"expected the 50000 images of its train split, found {COUNT}"):
        stored(tmp_path, "cifar10")
    (raw / "cifar10/test-00000-of-00001.parquet").unlink()
    with pytest.raises(PipelineError, match=r"cifar10: expected test\*.parquet, found none"):
        stored(tmp_path, "cifar10", test_share=0.2)


@pytest.mark.parametrize("source", ["mnist", "cifar10", "torchvision:SVHN"])
def test_without_files_and_network_the_three_ways_are_named(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], source: str
) -> None:
    """torchvision's own download, with every address refused: a proxy on a closed port of this machine."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(PipelineError) as caught:
        stored(tmp_path, source)
    message = str(caught.value)
    folder = source.rpartition(":")[2].lower()
    for words in (folder, str(raw / folder), "DATASETS_DIR", f"data/raw/{folder}/", "network"):
        assert words in message
    assert "\n" not in message
    assert not raw.exists()
    assert re.search(rf"{folder}: downloading by torchvision\nfetching https?://\S+", capfd.readouterr().err, re.I)


def test_a_download_that_is_interrupted_or_silent_leaves_nothing(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (raw / "mine").mkdir(parents=True)
    (raw / "mine/kept").write_text("x")

    def interrupted(folder: Path) -> None:
        (folder / "half").mkdir()
        (folder / "half/file").write_text("half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(raw / "mine", "mine", interrupted)
    assert [path.name for path in (raw / "mine").iterdir()] == ["kept"]
    monkeypatch.setattr("pipeline.artifacts.raw.download.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(PipelineError, match=r"the download failed .*timed out"):
            download(raw / "yours", "yours", lambda folder: download_url(address, folder))
    assert not (raw / "yours").exists()
