"""CIFAR-10, from Hugging Face's Parquet files or from torchvision's."""

from dataclasses import replace
from pathlib import Path

from pipeline.artifacts.raw import parquet, torchvision_sets
from pipeline.artifacts.raw.rows import Raw, sha256_of_files
from pipeline.artifacts.raw.wanted import Wanted
from pipeline.errors import PipelineError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def files(wanted: Wanted) -> list[Path]:
    """The Parquet files, or torchvision's."""
    return parquet.files(wanted) or torchvision_sets.files(_python_files(wanted))


def fetch(wanted: Wanted) -> None:
    """torchvision's download, if neither lies there."""
    if not parquet.files(wanted):
        torchvision_sets.fetch(_python_files(wanted))


def read(wanted: Wanted) -> Raw:
    """Parquet files if there are any. Raises PipelineError as the two readers do."""
    shards = parquet.files(wanted)
    if not shards:
        raw = torchvision_sets.read(_python_files(wanted))
        return replace(raw, source="CIFAR-10 python files, MD5-checked by torchvision")
    if "test" not in parquet.shards_of(wanted):
        raise PipelineError(f"{wanted.path}: expected test*.parquet, found none")
    raw = parquet.read(wanted, CLASSES)
    source = raw.source.replace(f"Parquet files of {wanted.name}", "CIFAR-10 Parquet files")
    if "JPEG" in source:
        source += ": a lossy JPEG re-encoding of CIFAR-10, not the original pixels"
    checksum = sha256_of_files([path for paths in parquet.shards_of(wanted).values() for path in paths])
    return replace(raw, source=source, checksum=checksum, known=torchvision_sets.KNOWN["CIFAR10"])


def _python_files(wanted: Wanted) -> Wanted:
    return replace(wanted, what="CIFAR10")
