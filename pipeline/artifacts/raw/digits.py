"""scikit-learn's handwritten digits."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.artifacts.raw.rows import Raw, drawn_for_test, rows_of, sha256
from pipeline.artifacts.raw.wanted import Wanted


def files(_: Wanted) -> list[Path]:
    """The one file, wherever scikit-learn is; it is not imported, which takes a second."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return [Path(found.origin).parent / "datasets/data/digits.csv.gz"]


def read(wanted: Wanted) -> Raw:
    """1,797 handwritten digits (UCI), 8x8, values 0 to 16 spread over 0 to 255; they come without a split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.uint8)
    test = drawn_for_test(labels, wanted.share(), wanted.random)
    return Raw(
        where="digits",
        dataset="digits",
        class_names=tuple(map(str, range(10))),
        source="scikit-learn's bundled digits (UCI), 8x8",
        splits={name: rows_of(images, labels, "digits", rows) for name, rows in (("train", ~test), ("test", test))},
        checksum=sha256(images.tobytes(), labels.tobytes()),
    )
