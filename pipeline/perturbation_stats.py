"""PerturbationStats: the perturbations of an adversarial set, for a notebook (paper, Section 2.3)."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.artifacts.adversarial import BLOCK, open_adversarial
from pipeline.errors import PipelineError
from pipeline.metrics.accumulators import GroupMeanImages, GroupMoments
from pipeline.metrics.norms import example_statistics
from pipeline.reporting.images import image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["perturbations", "adversarial"]
Quantity = Literal["pixel", "l1", "l2"]
Floats = NDArray[np.float32]


class PerturbationStats:
    """Summaries, histograms and pictures of an adversarial set, for any (label, target) selection.

    >>> with PerturbationStats("data/adversarial/digits/minimal.h5") as stats:
    ...     stats.summary()
    ...     stats.average_perturbation(label=0, target_label=5)

    Every method takes `label` and `target_label` (class number or class name; None means all of them)
    and looks at fooled images only, unless the class is opened with `include_failures=True`. Images
    are read in blocks: memory does not grow with the file, except where images themselves are asked
    for.
    """

    def __init__(self, path: Path | str, *, include_failures: bool = False) -> None:
        """Open `data/adversarial/<dataset>/<attack>.h5`. PipelineError if it is no such file."""
        self._open = ExitStack()
        self._set = self._open.enter_context(open_adversarial(path))
        self._include_failures = include_failures
        self.class_names = self._set.identity.class_names

    def __enter__(self) -> "PerturbationStats":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def rows(self, label: int | str | None = None, target_label: int | str | None = None) -> NDArray[np.int64]:
        """Rows of the file in the selection, sorted."""
        chosen = np.ones(len(self._set), dtype=bool)
        if not self._include_failures:
            chosen &= self._set.is_adversarial
        for wanted, values in ((label, self._set.sources.labels), (target_label, self._set.sources.target_labels)):
            if wanted is not None:
                chosen &= values == self._class(wanted)
        return np.flatnonzero(chosen)

    def labels(
        self, label: int | str | None = None, target_label: int | str | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Original labels and target labels of the selection, uint8 (n,) each."""
        rows = self.rows(label, target_label)
        return self._set.sources.labels[rows], self._set.sources.target_labels[rows]

    def originals(self, label: int | str | None = None, target_label: int | str | None = None) -> Floats:
        """Original images in [0, 1], float32 (n, c, h, w), one per selected row."""
        return self._set.originals(self.rows(label, target_label))

    def adversarial_images(self, label: int | str | None = None, target_label: int | str | None = None) -> Floats:
        """Adversarial images in [0, 1], float32 (n, c, h, w)."""
        return self._set.images(self.rows(label, target_label))

    def perturbations(self, label: int | str | None = None, target_label: int | str | None = None) -> Floats:
        """Adversarial minus original images, float32 (n, c, h, w), in [-1, 1]."""
        return self.adversarial_images(label, target_label) - self.originals(label, target_label)

    def blocks(
        self, kind: Kind = "perturbations", label: int | str | None = None, target_label: int | str | None = None
    ) -> Iterator[Floats]:
        """The selection block by block, for statistics of one's own."""
        if kind not in ("perturbations", "adversarial"):
            raise ValueError(f"kind: expected perturbations or adversarial, found {kind!r}")
        rows = self.rows(label, target_label)
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            images = self._set.images(part)
            yield images - self._set.originals(part) if kind == "perturbations" else images

    def summary(
        self, kind: Kind = "perturbations", label: int | str | None = None, target_label: int | str | None = None
    ) -> pd.DataFrame:
        """Mean, standard deviation, minimum and maximum of pixel values, L1 and L2 norms: Table 1.

        Rows `pixel, l1, l2`; columns `mean, std, min, max`.
        """
        moments = {name: GroupMoments(1) for name in ("pixel", "l1", "l2")}
        for block in self.blocks(kind, label, target_label):
            group = np.zeros(len(block), np.int64)
            statistics = example_statistics(block)
            moments["pixel"].add(block, group)
            moments["l1"].add(statistics["l1"], group)
            moments["l2"].add(statistics["l2"], group)
        rows = {name: {k: v[0] for k, v in moment.summary().items()} for name, moment in moments.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def histogram(
        self,
        quantity: Quantity = "l2",
        bins: int = 50,
        kind: Kind = "perturbations",
        label: int | str | None = None,
        target_label: int | str | None = None,
    ) -> pd.DataFrame:
        """Histogram of L1, L2 or raw pixel values: columns `low, high, count`, equal bins over the range."""
        if quantity not in ("pixel", "l1", "l2"):
            raise ValueError(f"quantity: expected pixel, l1 or l2, found {quantity!r}")

        def values() -> Iterator[Floats]:
            for block in self.blocks(kind, label, target_label):
                yield block.ravel() if quantity == "pixel" else example_statistics(block)[quantity]

        # Two readings: the range first, so that no more than a block is ever held.
        ranges = [(part.min(), part.max()) for part in values()]
        if not ranges:
            raise ValueError("no image in this selection")
        low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        counts = sum(np.histogram(part, edges)[0] for part in values())
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})

    def average_image(self, label: int | str | None = None, target_label: int | str | None = None) -> Floats:
        """Mean adversarial image of the selection, float32 (c, h, w)."""
        return self._average("adversarial", label, target_label)

    def average_perturbation(self, label: int | str | None = None, target_label: int | str | None = None) -> Floats:
        """Mean perturbation of the selection, float32 (c, h, w)."""
        return self._average("perturbations", label, target_label)

    def grid(self, label: int | str, target_label: int | str, count: int = 8) -> "Figure":
        """Original, adversarial image and perturbation of the first `count` images of a pair."""
        rows = self.rows(label, target_label)[:count]
        if not len(rows):
            raise ValueError(f"no image of {label} towards {target_label}")
        originals, images = self._set.originals(rows), self._set.images(rows)
        names = self.class_names[self._class(label)], self.class_names[self._class(target_label)]
        return image_grid(
            [originals, images, images - originals],
            ["original", "adversarial", "perturbation"],
            f"{names[0]} towards {names[1]}, {self._set.identity.attack}",
        )

    def _average(self, kind: Kind, label: int | str | None, target_label: int | str | None) -> Floats:
        means = GroupMeanImages(1, self._set.sources.originals.shape[1:])
        for block in self.blocks(kind, label, target_label):
            means.add(block, np.zeros(len(block), np.int64))
        if not means.count[0]:
            raise ValueError("no image in this selection")
        average: Floats = means.mean()[0]
        return average

    def _class(self, wanted: int | str) -> int:
        if isinstance(wanted, str) and wanted in self.class_names:
            return self.class_names.index(wanted)
        if isinstance(wanted, int | np.integer) and 0 <= wanted < len(self.class_names):
            return int(wanted)
        names = ", ".join(self.class_names)
        raise PipelineError(f"class {wanted!r}: expected 0 to {len(self.class_names) - 1} or one of: {names}")
