"""How every figure looks: one size of text, one palette, no global state of matplotlib."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "legend.frameon": False,
        "figure.dpi": 120,
        "savefig.dpi": 120,
    }
)
# Okabe and Ito's palette, told apart also by readers who see no red or green.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, NDArray[Any]]:
    """A figure of that size in inches and its axes as an array (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.asarray(figure.subplots(rows, columns, squeeze=False))


def label_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Ticks of a logarithmic x axis at exactly these values, written plainly."""
    ticks = sorted(values)
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks], fontsize=7)
    axes.xaxis.set_minor_locator(NullLocator())


def heatmap(
    axes: Axes,
    values: NDArray[np.floating],
    class_names: Sequence[str],
    title: str,
    *,
    low: float | None = None,
    high: float | None = None,
    form: str = "{:.2f}",
    colors: str = SEQUENTIAL,
    row_names: Sequence[str] | None = None,
    rows_are: str = "original label",
) -> None:
    """A (label, target label) matrix with its numbers; NaN cells (the diagonal) stay blank."""
    shown = np.ma.masked_invalid(values)
    image = axes.imshow(shown, cmap=colors, vmin=low, vmax=high)
    names = list(class_names if row_names is None else row_names)
    axes.set_xticks(
        range(values.shape[1]),
        class_names,
        rotation=45 if len(class_names[0]) > 2 else 0,
        ha="right" if len(class_names[0]) > 2 else "center",
    )
    axes.set_yticks(range(values.shape[0]), names)
    axes.set_xlabel("target label")
    axes.set_ylabel(rows_are)
    axes.set_title(title)
    axes.spines[:].set_visible(False)
    norm = image.norm
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            number = axes.text(
                column, row, form.format(value), ha="center", va="center", fontsize=5.5,
                color="white" if dark else "black",
            )  # fmt: skip
            number.set_in_layout(False)  # it lies inside the axes; measuring a hundred of them takes long
    figure = axes.figure
    assert figure is not None
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
