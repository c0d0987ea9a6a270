"""Bring a study's raw images into one HDF5 file.

Reads:  scikit-learn's digits, or raw files in $DATASETS_DIR if that variable is set, else in data/raw; where a set of
        torchvision's is not there, its download into that folder.
Writes: the images file.
Params: images, seed (of the split, where the images come without one).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.images import Stream, write_images
from pipeline.artifacts.raw import sources
from pipeline.artifacts.raw.checks import Checked
from pipeline.artifacts.raw.wanted import Images
from pipeline.progress import each
from pipeline.randomness import derive_seed
from pipeline.stages.command import run
from pipeline.studies import Study


def main(study: Study) -> None:
    checked = read_raw(study)
    streams = {split: replace(stream, rows=_shown(split, stream)) for split, stream in checked.streams().items()}
    write_images(study.path("images"), checked.description, streams)


def _shown(split: str, stream: Stream) -> Iterator[tuple[NDArray[np.uint8], int]]:
    yield from each(stream.rows, f"{split} images", "images", stream.count)


def read_raw(study: Study) -> Checked:
    """The images that the study names, to be checked as they are taken."""
    images, where = study.checked("images", Images), study.where("images")
    wanted = sources.wanted(images, study.source, where, study.seed)
    return Checked(sources.read(wanted), images, where, derive_seed(study.seed, study.source, "order"))


if __name__ == "__main__":
    run(main, __doc__)
