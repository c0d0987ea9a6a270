"""See that a study's raw files are there, and write down which they are, for prepare_images to depend on.

DVC does not know these files, which lie wherever $DATASETS_DIR says; so this stage runs each time. Where they are gone
but were there before, and no DATASETS_DIR is set, as in a clone that has pulled the images, its note stays as it is.

Reads:  the raw files: all their bytes the first time, and after that their sizes and times.
Writes: their number, bytes and checksum; where a set of torchvision's is not there, downloads it.
Params: images.
"""

import os
import sys
from pathlib import Path

from pipeline.artifacts.raw import sources
from pipeline.artifacts.raw.files import read_raw_files, write_raw_files
from pipeline.artifacts.raw.wanted import Images
from pipeline.stages.command import run
from pipeline.studies import Study

INDEX = Path(".work/raw_files")  # what was looked at before


def main(study: Study) -> None:
    images, out = study.checked("images", Images), study.path("raw_files")
    wanted = sources.wanted(images, study.source, study.where("images"))
    before = read_raw_files(out)
    same = before is not None and before.source == sources.identity(wanted)
    paths = sources.files(wanted)
    if same and not os.environ.get("DATASETS_DIR") and not paths:
        print(f"{wanted.path}: no raw files; the images that were made of them stay", file=sys.stderr)
        return
    found = sources.find(wanted, paths, INDEX / f"{study.name}.json")
    if found != before:
        write_raw_files(out, found)


if __name__ == "__main__":
    run(main, __doc__)
