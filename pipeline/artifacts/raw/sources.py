"""Which reader serves which `images.source`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.raw import cifar10, digits, folder, idx, npz, parquet, torchvision_sets
from pipeline.artifacts.raw.files import Listing, RawFiles, look_at, remembered
from pipeline.artifacts.raw.rows import Raw
from pipeline.artifacts.raw.wanted import Images, Wanted, base, contents, place
from pipeline.errors import PipelineError
from pipeline.randomness import derive_seed


@dataclass(frozen=True)
class Source:
    """How images of a kind are had.

    read : all that is to be said of them. files : those of their raw files that are there.
    fetch : downloads what is missing. form : what stands in a study, for messages. classes, shape : how many,
    and (c, h, w) of each image, where the kind is one set of images. holds : what lies in its folder, or file.
    """

    form: str
    read: Callable[[Wanted], Raw]
    files: Callable[[Wanted], list[Path]]
    fetch: Callable[[Wanted], None] | None = None
    classes: int | None = None
    shape: tuple[int, int, int] | None = None
    holds: str = ""


def _fetch_mnist(wanted: Wanted) -> None:
    if not idx.files(wanted):
        torchvision_sets.fetch(wanted)


SOURCES = {
    "digits": Source("digits", digits.read, digits.files, classes=10, shape=(1, 8, 8)),
    "mnist": Source("mnist", idx.read, idx.files, _fetch_mnist, classes=10, shape=(1, 28, 28)),
    "cifar10": Source("cifar10", cifar10.read, cifar10.files, cifar10.fetch, classes=10, shape=(3, 32, 32)),
    "torchvision": Source("torchvision:<Class>", torchvision_sets.read, torchvision_sets.files, torchvision_sets.fetch),
    "parquet": Source("parquet:<folder>", parquet.read, parquet.files, holds="Parquet files train* and test*"),
    "folder": Source("folder:<path>", folder.read, folder.files, holds="images in a folder per class"),
    "npz": Source("npz:<file>", npz.read, npz.files, holds="an .npz file"),
    "idx": Source("idx:<folder>", idx.read, idx.files, holds="MNIST's four idx files"),
}
TORCHVISION = {"mnist": "MNIST", "cifar10": "CIFAR10"}  # the sources that are sets of torchvision's by another name


def wanted(images: Images, name: str, where: str, seed: int = 0) -> Wanted:
    """What a study's block `images` asks for.

    name : by which random numbers are named. where : names the block in messages. seed : of the test split.

    Raises PipelineError if there is no such source, or it lies outside of the folder of raw files.
    """
    kind, _, what = images.source.partition(":")
    known = [source.form for source in SOURCES.values()]
    if kind not in SOURCES or (what and "<" not in SOURCES[kind].form) or (kind == "torchvision" and not what):
        raise PipelineError(f"{where}.source: expected one of: {', '.join(known)}; found {images.source!r}")
    if images.source == "torchvision:MNIST":  # whose files' published checksums we know
        kind = "mnist"
    if kind in ("torchvision", *TORCHVISION):
        what = what or TORCHVISION[kind]
        path = place(images.raw or what.partition("/")[0].lower(), "", where)
    elif kind == "digits":
        path = base()
    else:
        if not what and not images.raw:
            raise PipelineError(f"{where}: expected a path, as {SOURCES[kind].form}; found {images.source!r}")
        path = place(images.raw or "", what, where)
    return Wanted(images, kind, what, name, path, where, derive_seed(seed, name, "test split"))


def class_count(images: Images) -> int | None:
    """How many classes the images have, where that is known before they are read."""
    return SOURCES[images.source.partition(":")[0]].classes or len(images.class_names or ()) or None


def shape(images: Images) -> tuple[int, int, int] | None:
    """(c, h, w) of each stored image, where its sides are known before it is read; c may be too many then."""
    known = SOURCES[images.source.partition(":")[0]].shape
    sides = images.size or (known and known[1:])
    if not sides or len(sides) != 2:
        return None
    return images.channels or (known[0] if known else 3), *sides


def read(wanted: Wanted) -> Raw:
    """The images, downloaded if need be. Raises PipelineError if they are not there, or wrong."""
    source = SOURCES[wanted.kind]
    if not source.files(wanted):
        _fetch(wanted)
    return source.read(wanted)


def files(wanted: Wanted) -> list[Path]:
    """Those of the raw files that are there."""
    return SOURCES[wanted.kind].files(wanted)


def find(wanted: Wanted, paths: list[Path], index: Path) -> RawFiles:
    """Which raw files there are, `paths` as `files` gives them, downloaded if need be.

    Raises PipelineError if there are none.
    """
    listing = Listing(paths)
    if not paths or not remembered(listing, index):
        _fetch(wanted)
        listing = Listing(files(wanted))
    return look_at(listing, wanted.path, identity(wanted), index)


def identity(wanted: Wanted) -> str:
    """The source as the study names it, with its folder."""
    return ", ".join(filter(None, (wanted.images.source, wanted.images.raw)))


def _fetch(wanted: Wanted) -> None:
    source = SOURCES[wanted.kind]
    if source.fetch is not None:
        source.fetch(wanted)
    elif not source.files(wanted):
        if source.holds and wanted.path.exists():
            found = contents(wanted.path) if wanted.path.is_dir() else "a file"
            raise PipelineError(
                f"{wanted.path}: expected {source.holds} (pipeline/README.md, Images), found {found}: put them there, "
                "or name another place"
            )
        folder = wanted.path if wanted.path.is_dir() else wanted.path.parent
        raise PipelineError(
            f"{wanted.name}: no raw files at {wanted.path} (in {folder}: {contents(folder)}). Two ways: (1) set "
            f"DATASETS_DIR to a folder that holds {wanted.path.relative_to(base())}; (2) put or link it there"
        )
