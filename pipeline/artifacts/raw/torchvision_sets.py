"""torchvision's classification sets, by the name of their class; CIFAR-10's files too."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts.raw.download import download
from pipeline.artifacts.raw.files import beneath
from pipeline.artifacts.raw.rows import Raw, Row, Rows
from pipeline.artifacts.raw.wanted import Wanted
from pipeline.errors import PipelineError

# Images of train and test split as published. Of another class torchvision's own checks must do.
KNOWN = {
    "CIFAR10": (50000, 10000), "CIFAR100": (50000, 10000), "FashionMNIST": (60000, 10000), "GTSRB": (26640, 12630),
    "KMNIST": (60000, 10000), "MNIST": (60000, 10000), "STL10": (5000, 8000), "SVHN": (73257, 26032),
    "USPS": (7291, 2007),
    "EMNIST/balanced": (112800, 18800), "EMNIST/byclass": (697932, 116323), "EMNIST/bymerge": (697932, 116323),
    "EMNIST/digits": (240000, 40000), "EMNIST/letters": (124800, 20800), "EMNIST/mnist": (60000, 10000),
}  # fmt: skip
# All classes that take a split and can be downloaded; here so that another name is refused before torchvision is
# imported, which takes seconds.
CLASSES = frozenset({
    "CIFAR10", "CIFAR100", "CLEVRClassification", "CelebA", "Country211", "DTD", "EMNIST", "FGVCAircraft",
    "FashionMNIST", "Flowers102", "Food101", "GTSRB", "Imagenette", "KMNIST", "Kinetics", "Kitti", "LFWPairs",
    "LFWPeople", "MNIST", "Middlebury2014Stereo", "MovingMNIST", "OxfordIIITPet", "PCAM", "PhotoTour", "Places365",
    "RenderedSST2", "STL10", "SVHN", "StanfordCars", "USPS", "WIDERFace",
})  # fmt: skip
SPLITS = ("train", "test")
# What reading files that are missing, cut off or no such files ends in.
ERRORS = (RuntimeError, OSError, EOFError, ValueError, AssertionError, KeyError, IndexError, ImportError)


def files(wanted: Wanted) -> list[Path]:
    """All that lies in the folder."""
    return beneath(wanted.path, lambda _: True)


def fetch(wanted: Wanted) -> None:
    """Download both splits, unless they lie there as torchvision wants them. Raises PipelineError if that fails."""
    make = _maker(wanted)
    try:
        for split in SPLITS:
            make(split, False)
    except ERRORS:

        def both(_: Path) -> None:
            for split in SPLITS:
                make(split, True)

        download(wanted.path, wanted.what, both)


def read(wanted: Wanted) -> Raw:
    """Both splits of `torchvision.datasets.<what>`; of EMNIST `what` is EMNIST/<split>.

    Raises PipelineError if there is no such class, it has no such splits, or the files are not there.
    """
    wanted.no_share()
    make = _maker(wanted)
    splits = {}
    for split in SPLITS:
        try:
            splits[split] = make(split, False)
        except ERRORS as error:
            raise PipelineError(f"{wanted.path}: {wanted.what}: {' '.join(str(error).split())}") from None
    names = [str(name) for name in getattr(splits["train"], "classes", None) or ()]
    first = 1 if names[:1] == ["N/A"] else 0  # EMNIST's letters are counted from one
    if not names:  # no class of torchvision's is without both
        names = list(map(str, range(1 + max(label for data in splits.values() for label in _labels(data)))))
    return Raw(
        where=str(wanted.path),
        dataset=wanted.name,
        class_names=tuple(name.partition(" - ")[0] for name in names[first:]),  # "0 - zero"
        source=f"torchvision's {wanted.what}",
        splits={split: _rows(data, first, f"{wanted.path}: {wanted.what}: {split}") for split, data in splits.items()},
        known=KNOWN.get(wanted.what),
    )


def _labels(data: Any) -> list[int]:
    """What a set keeps beside its images; nothing, if it does not."""
    found = [int(label) for label in getattr(data, "targets", getattr(data, "labels", ()))]
    return found if len(found) == len(data) else []


def _rows(data: Any, first: int, where: str) -> Rows:
    def read() -> Iterator[Row]:
        for number in range(len(data)):
            image, label = data[number]
            if image.mode not in ("L", "RGB"):
                raise PipelineError(f"{where}: image {number}: expected a gray or RGB image, found {image.mode}")
            yield Row(np.asarray(image), int(label) - first, "", f"{where}: image {number}")

    labels = _labels(data)
    return Rows(len(data), read, np.array(labels) if labels else None)


def _maker(wanted: Wanted) -> Any:
    """A function (split, download) -> the set."""
    name, _, variant = wanted.what.partition("/")
    if name == "EMNIST" and wanted.what not in KNOWN:
        splits = ", ".join(f"torchvision:{one}" for one in KNOWN if one.startswith("EMNIST/"))
        raise PipelineError(f"{wanted.where}.source: expected one of: {splits}; found {wanted.images.source!r}")
    if name not in CLASSES or (variant and name != "EMNIST"):
        raise PipelineError(
            f"{wanted.where}.source: expected torchvision:<class>, a class with a train and a test split, as "
            f"{', '.join(KNOWN)}; found {wanted.what!r}"
        )
    import torchvision.datasets  # seconds of start-up: only where nothing else has the data
    from torchvision.datasets.utils import check_integrity

    kind: Any = getattr(torchvision.datasets, name)
    parameters = inspect.signature(kind).parameters

    def make(split: str, fetch: bool) -> Any:
        arguments: dict[str, Any] = {"split": variant} if variant else {}
        arguments |= {"train": split == "train"} if variant or "train" in parameters else {"split": split}
        build: Callable[..., Any] = kind
        found = build(str(wanted.path), download=fetch, **arguments)
        _, file, md5 = getattr(kind, "split_list", {}).get(split, ("", "", ""))  # of USPS nobody else looks at it
        if file and not check_integrity(str(wanted.path / file), md5):
            raise RuntimeError(f"{file}: expected MD5 {md5}, found another: delete it to download it anew")
        return found

    return make
