"""Bring a study's raw images into one HDF5 file.

Reads:  scikit-learn's digits; or raw files in $DATASETS_DIR/<raw> if that variable is set, else in data/raw/<raw>, of
        MNIST, of CIFAR-10, or any in MNIST's layout (`idx`); where MNIST's or CIFAR-10's are missing, torchvision's
        download into that folder.
Writes: the images file.
Params: images, seed (of the split, where the images come without one).
"""

import os
from pathlib import Path
from typing import Annotated

import numpy as np

from pipeline.artifacts.images import write_images
from pipeline.artifacts.raw_images import RawImages, read_cifar10, read_digits, read_idx, read_mnist
from pipeline.errors import PipelineError
from pipeline.randomness import derive_seed
from pipeline.ranges import Range
from pipeline.stages.command import run
from pipeline.studies import Study, checked_name

READERS = {"mnist": read_mnist, "cifar10": read_cifar10}


def main(study: Study) -> None:
    write_images(study.path("images"), *read_raw(study))


def read_raw(study: Study) -> RawImages:
    kind = study.checked("images.source", str)
    if kind == "digits":
        share = study.checked("images.test_share", Annotated[float, Range(0.05, 0.5)])
        return read_digits(share, np.random.default_rng(derive_seed(study.seed, "digits", "test split")))
    raw = checked_name(study.value("images").get("raw", kind), study.where("images.raw"))
    folder = (Path(os.environ["DATASETS_DIR"]) if "DATASETS_DIR" in os.environ else Path("data/raw")) / raw
    if kind == "idx":
        names = study.value("images").get("class_names")
        return read_idx(folder, raw, names and tuple(study.checked("images.class_names", list[str])))
    if kind not in READERS:
        known = ", ".join(["digits", *READERS, "idx"])
        raise PipelineError(f"{study.where('images.source')}: expected one of: {known}, found '{kind}'")
    return READERS[kind](folder)


if __name__ == "__main__":
    run(main, __doc__)
