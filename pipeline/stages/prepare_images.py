"""Bring a dataset's raw images into one HDF5 file.

Reads:  scikit-learn's digits; or raw files in $DATASETS_DIR/<dataset> if that variable is set, else in
        the folder given by --raw; else torchvision's download into that folder.
Writes: the images file.
Params: seed and images.<dataset>, where the dataset comes without a split of its own (digits).
"""

import argparse
import os
from pathlib import Path
from typing import Annotated

import numpy as np

from pipeline.artifacts.images import write_images
from pipeline.artifacts.raw_images import RawImages, read_cifar10, read_digits, read_mnist
from pipeline.errors import PipelineError
from pipeline.params import check_value, read_block
from pipeline.randomness import derive_seed
from pipeline.ranges import Range
from pipeline.stages.command import run

READERS = {"mnist": read_mnist, "cifar10": read_cifar10}


def main(arguments: argparse.Namespace) -> None:
    write_images(arguments.images, *read_raw(arguments.dataset, arguments.raw, arguments.params))


def read_raw(dataset: str, raw: Path, params: Path) -> RawImages:
    if "DATASETS_DIR" in os.environ:
        raw = Path(os.environ["DATASETS_DIR"]) / dataset
    if dataset == "digits":
        seed = check_value(read_block(params, "seed"), int, "seed")
        key = "images.digits.test_share"
        share = check_value(read_block(params, key), Annotated[float, Range(0.05, 0.5)], key)
        return read_digits(share, np.random.default_rng(derive_seed(seed, "digits", "test split")))
    if dataset not in READERS:
        raise PipelineError(f"unknown dataset '{dataset}': expected one of: digits, {', '.join(READERS)}")
    return READERS[dataset](raw)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        dataset="name of the dataset",
        raw="path of the folder of raw files, used where DATASETS_DIR is not set",
        images="path of the images file (written)",
    )
