"""PerturbationStats: the perturbations of an adversarial set, for a notebook (paper, Section 2.3)."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.artifacts.adversarial import AdversarialSet, blocks_of, open_adversarial
from pipeline.errors import PipelineError
from pipeline.metrics.accumulators import GroupMeanImages, GroupMoments
from pipeline.metrics.norms import example_statistics
from pipeline.reporting.formats import NORMS
from pipeline.reporting.images import image_grid
from pipeline.reporting.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["perturbations", "adversarial"]
Quantity = Literal["pixel", "l1", "l2", "linf"]
KINDS: tuple[Kind, ...] = ("perturbations", "adversarial")
QUANTITIES: tuple[Quantity, ...] = ("pixel", "l1", "l2", "linf")
Class = int | str | None  # number or name; None: all of them
Floats = NDArray[np.float32]


class PerturbationStats:
    """Summaries, histograms and pictures of an adversarial set, for any (label, target) selection.

    >>> with PerturbationStats("data/adversarial/digits/minimal.h5") as stats:
    ...     stats.summary()
    ...     stats.average_perturbation(label=0, target_label=5)

    Every method takes `label` and `target_label` first (class number or class name; None means all of them), everything
    else by name, and looks at fooled images only, unless the class is opened with `include_failures=True`. `len` is
    their number. Images are read in blocks: memory does not grow with the file, except where images themselves are
    asked for.

    Raises PipelineError wherever it raises: for what is no set or no class, a selection without images where some are
    needed, a word that is none of those listed, and a file that was closed.
    """

    def __init__(self, path: Path | str, *, include_failures: bool = False) -> None:
        """Open `data/adversarial/<study>/<attack>.h5`. PipelineError if it is no such file."""
        self._open = ExitStack()
        self._path = Path(path)
        self._opened: AdversarialSet | None = self._open.enter_context(open_adversarial(path))
        self._include_failures = include_failures
        self.class_names = self._opened.identity.class_names

    def __len__(self) -> int:
        return len(self.rows())

    def __bool__(self) -> bool:
        return True  # also where no image is fooled

    def __repr__(self) -> str:
        if self._opened is None:
            return f"PerturbationStats({str(self._path)!r}, closed)"
        images, classes = f"{len(self)} of {len(self._opened)} images", f"{len(self.class_names)} classes"
        return f"PerturbationStats({str(self._path)!r}, {self._opened.identity.attack}, {images}, {classes})"

    def __enter__(self) -> "PerturbationStats":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._open.close()
        self._opened = None

    @property
    def _set(self) -> AdversarialSet:
        if self._opened is None:
            raise PipelineError(f"{self._path}: closed; open it again, or stay within `with`")
        return self._opened

    def rows(self, label: Class = None, target_label: Class = None) -> NDArray[np.int64]:
        """Rows of the file in the selection, sorted."""
        chosen = np.ones(len(self._set), dtype=bool)
        if not self._include_failures:
            chosen &= self._set.is_adversarial
        for wanted, values in ((label, self._set.sources.labels), (target_label, self._set.sources.target_labels)):
            if wanted is not None:
                chosen &= values == self._class(wanted)
        return np.flatnonzero(chosen)

    def labels(self, label: Class = None, target_label: Class = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Original labels and target labels of the selection, uint8 (n,) each."""
        rows = self.rows(label, target_label)
        return self._set.sources.labels[rows], self._set.sources.target_labels[rows]

    def originals(self, label: Class = None, target_label: Class = None) -> Floats:
        """Original images in [0, 1], float32 (n, c, h, w), one per selected row."""
        return self._set.originals(self.rows(label, target_label))

    def adversarial_images(self, label: Class = None, target_label: Class = None) -> Floats:
        """Adversarial images in [0, 1], float32 (n, c, h, w)."""
        return self._set.images(self.rows(label, target_label))

    def perturbations(self, label: Class = None, target_label: Class = None) -> Floats:
        """Adversarial minus original images, float32 (n, c, h, w), in [-1, 1]."""
        return self.adversarial_images(label, target_label) - self.originals(label, target_label)

    def blocks(
        self, label: Class = None, target_label: Class = None, *, kind: Kind = "perturbations"
    ) -> Iterator[Floats]:
        """The selection block by block, for statistics of one's own; `kind`: "perturbations" or "adversarial"."""
        _one_of("kind", kind, KINDS)
        rows = self.rows(label, target_label)
        parts = blocks_of(len(rows), self._set.sources.originals.shape[1:])
        return (self._block(rows[part], kind) for part in parts)

    def frame(self, label: Class = None, target_label: Class = None) -> pd.DataFrame:
        """A row per image of the selection: where it comes from, what came of it, and statistics of its perturbation.

        Columns `row` (of the file), `original_row, label, target_label` (numbers), `source_split` (0 train, 1 test),
        `source_index, is_adversarial, steps, margin`, and those of `metrics.norms.example_statistics`.
        """
        rows, sources = self.rows(label, target_label), self._set.sources
        originals = sources.original_row[rows]
        none = example_statistics(np.zeros((1, *sources.originals.shape[1:]), np.float32))
        parts = [{name: values[:0] for name, values in none.items()}]
        parts += [example_statistics(block) for block in self.blocks(label, target_label)]
        statistics = {name: np.concatenate([part[name] for part in parts]) for name in none}
        return pd.DataFrame(
            {
                "row": rows,
                "original_row": originals,
                "label": sources.labels[rows],
                "target_label": sources.target_labels[rows],
                "source_split": sources.source_split[originals],
                "source_index": sources.source_index[originals],
                "is_adversarial": self._set.is_adversarial[rows],
                "steps": self._set.steps[rows],
                "margin": self._set.margin[rows],
                **statistics,
            }
        )

    def save(self, path: Path | str, label: Class = None, target_label: Class = None) -> Path:
        """Write `frame` of the selection, as CSV or Parquet by the path's suffix; the path again."""
        path = Path(path)
        _one_of("suffix of the path", path.suffix, (".csv", ".parquet"))
        table = self.frame(label, target_label)
        if path.suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
        return path

    def summary(self, label: Class = None, target_label: Class = None, *, kind: Kind = "perturbations") -> pd.DataFrame:
        """Mean, standard deviation, minimum and maximum of pixel values and norms: Table 1 of the paper, and Linf.

        Rows `pixel, l1, l2, linf`; columns `mean, std, min, max`; NaN where the selection is empty.
        """
        moments = {name: GroupMoments(1) for name in QUANTITIES}
        for block in self.blocks(label, target_label, kind=kind):
            group = np.zeros(len(block), np.int64)
            statistics = {"pixel": block, **example_statistics(block)}
            for name, moment in moments.items():
                moment.add(statistics[name], group)
        rows = {name: {k: v[0] for k, v in moment.summary().items()} for name, moment in moments.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def histogram(
        self,
        label: Class = None,
        target_label: Class = None,
        *,
        quantity: Quantity = "l2",
        bins: int = 50,
        kind: Kind = "perturbations",
    ) -> pd.DataFrame:
        """Histogram of a norm or of raw pixel values: columns `low, high, count`, equal bins over the range.

        quantity : "pixel", "l1", "l2" or "linf". A value on an edge is counted in the bin above it, in the last bin on
        both. Raises PipelineError if the selection is empty.
        """
        _one_of("quantity", quantity, QUANTITIES)

        def values() -> Iterator[NDArray[np.float64]]:
            # Edges in float64, and so the values: in float32 those next to an edge end up on its other side.
            for block in self.blocks(label, target_label, kind=kind):
                found = block.ravel() if quantity == "pixel" else example_statistics(block)[quantity]
                yield found.astype(np.float64)

        # Two readings: the range first, so that no more than a block is ever held.
        ranges = [(float(part.min()), float(part.max())) for part in values()]
        if not ranges:
            raise self._empty(label, target_label)
        low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        counts = sum(np.histogram(part, edges)[0] for part in values())
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})

    def plot_histogram(
        self,
        label: Class = None,
        target_label: Class = None,
        *,
        quantity: Quantity = "l2",
        bins: int = 50,
        kind: Kind = "perturbations",
    ) -> "Figure":
        """`histogram` as a figure."""
        table = self.histogram(label, target_label, quantity=quantity, bins=bins, kind=kind)
        figure, axes = new_figure(4.6, 3.0)
        plot = axes[0, 0]
        plot.stairs(table["count"], np.r_[table["low"], table["high"].iloc[-1]], fill=True, color=COLORS[0])
        plot.set_xlabel("pixel value" if quantity == "pixel" else f"{NORMS[quantity]} norm")
        plot.set_ylabel("values" if quantity == "pixel" else "images")
        plot.set_title(f"{self._title(label, target_label)}, {kind}")
        return figure

    def average_image(self, label: Class = None, target_label: Class = None) -> Floats:
        """Mean adversarial image of the selection, float32 (c, h, w)."""
        return self._average(label, target_label, "adversarial")

    def average_perturbation(self, label: Class = None, target_label: Class = None) -> Floats:
        """Mean perturbation of the selection, float32 (c, h, w)."""
        return self._average(label, target_label, "perturbations")

    def grid(self, label: Class = None, target_label: Class = None, *, count: int = 8) -> "Figure":
        """Original, adversarial image and perturbation of the first `count` images of the selection."""
        rows = self.rows(label, target_label)[:count]
        if not len(rows):
            raise self._empty(label, target_label)
        originals, images = self._set.originals(rows), self._set.images(rows)
        return image_grid(
            [originals, images, images - originals],
            ["original", "adversarial", "perturbation"],
            self._title(label, target_label),
        )

    def _block(self, rows: NDArray[np.int64], kind: Kind) -> Floats:
        images = self._set.images(rows)
        return images - self._set.originals(rows) if kind == "perturbations" else images

    def _average(self, label: Class, target_label: Class, kind: Kind) -> Floats:
        means = GroupMeanImages(1, self._set.sources.originals.shape[1:])
        for block in self.blocks(label, target_label, kind=kind):
            means.add(block, np.zeros(len(block), np.int64))
        if not means.count[0]:
            raise self._empty(label, target_label)
        average: Floats = means.mean()[0]
        return average

    def _title(self, label: Class, target_label: Class) -> str:
        names = ["any" if wanted is None else self.class_names[self._class(wanted)] for wanted in (label, target_label)]
        return f"{names[0]} towards {names[1]}, {self._set.identity.attack}"

    def _empty(self, label: Class, target_label: Class) -> PipelineError:
        return PipelineError(f"{self._path}: no image of {self._title(label, target_label)}: expected one or more")

    def _class(self, wanted: int | str) -> int:
        if isinstance(wanted, str) and wanted in self.class_names:
            return self.class_names.index(wanted)
        if isinstance(wanted, int | np.integer) and 0 <= wanted < len(self.class_names):
            return int(wanted)
        names = ", ".join(self.class_names)
        raise PipelineError(f"class {wanted!r}: expected 0 to {len(self.class_names) - 1} or one of: {names}")


def _one_of(name: str, found: str, expected: tuple[str, ...]) -> None:
    if found not in expected:
        words = ", ".join(expected[:-1])
        raise PipelineError(f"{name}: expected {words} or {expected[-1]}, found {found!r}")
