"""Bring a study's raw images into one HDF5 file.

Reads:  scikit-learn's digits, or raw files in $DATASETS_DIR if that variable is set, else in data/raw; where a set of
        torchvision's is not there, its download into that folder.
Writes: the images file.
Params: images, seed (of the split, where the images come without one).
"""

from pipeline.artifacts.images import Stream, write_images
from pipeline.artifacts.raw import sources
from pipeline.artifacts.raw.checks import Checked
from pipeline.artifacts.raw.wanted import Images
from pipeline.progress import each
from pipeline.stages.command import run
from pipeline.studies import Study


def main(study: Study) -> None:
    checked = read_raw(study)
    streams = {
        split: Stream(stream.count, iter(each(stream.rows, f"{split} images", "images", stream.count)))
        for split, stream in checked.streams().items()
    }
    write_images(study.path("images"), checked.description, streams)


def read_raw(study: Study) -> Checked:
    """The images that the study names, to be checked as they are taken."""
    images, where = study.checked("images", Images), study.where("images")
    return Checked(sources.read(sources.wanted(images, study.source, where, study.seed)), images, where)


if __name__ == "__main__":
    run(main, __doc__)
