"""Matrices over (original label, target label), drawn with their numbers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.reporting.style import COLORS, MOST_CLASSES, SEQUENTIAL, class_ticks, new_figure, shortened

EXTREMES = 10  # pairs shown at either end where there are too many classes for a matrix


def heatmap(
    axes: Axes,
    values: NDArray[np.floating],
    names: Sequence[str],
    title: str,
    *,
    low: float | None = None,
    high: float | None = None,
    form: str = "{:.2f}",
    colors: str = SEQUENTIAL,
    row_names: Sequence[str] | None = None,
    rows_are: str = "original label",
    columns_are: str = "target label",
    values_are: str = "",
) -> None:
    """A matrix with its numbers, its columns named; NaN cells (the diagonal) stay blank."""
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colors, vmin=low, vmax=high)
    most = 14 if row_names is None else 60  # else they are no classes' names
    class_ticks(axes, names, most=most)
    class_ticks(axes, names if row_names is None else row_names, y=True, most=most)
    axes.set_xlabel(columns_are)
    axes.set_ylabel(rows_are)
    axes.set_title(title)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            number = axes.text(
                column, row, form.format(value), ha="center", va="center", fontsize=5.5,
                color="white" if dark else "black",
            )  # fmt: skip
            number.set_in_layout(False)  # it lies inside the axes; measuring a hundred of them takes long
    axes.get_figure().colorbar(image, ax=axes, fraction=0.046, pad=0.03, label=values_are)  # type: ignore[union-attr]


def pairs(
    axes: Axes,
    values: NDArray[np.floating],
    class_names: Sequence[str],
    title: str,
    *,
    low: float | None = None,
    high: float | None = None,
    form: str = "{:.2f}",
    colors: str = SEQUENTIAL,
) -> None:
    """A (label, target label) matrix (k, k); of many classes only the pairs of the largest and the smallest values."""
    if len(class_names) <= MOST_CLASSES:
        heatmap(axes, values, class_names, title, low=low, high=high, form=form, colors=colors)
        return
    chosen = extremes(values)
    numbers = [float(values[pair]) for pair in chosen]
    half = len(chosen) // 2
    names = [f"{shortened(class_names[a], 12)} → {shortened(class_names[b], 12)}" for a, b in chosen]
    axes.barh(range(len(chosen)), numbers, color=[COLORS[0]] * half + [COLORS[1]] * (len(chosen) - half))
    axes.set_yticks(range(len(chosen)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(low, high)
    axes.set_title(f"{title}:\nlargest and smallest of {int(np.isfinite(values).sum()):,} pairs")


def extremes(values: NDArray[np.floating]) -> list[tuple[int, int]]:
    """The pairs of the largest values, largest first, then those of the smallest, smallest last; NaN left out."""
    order = np.argsort(values, axis=None, kind="stable")[: int(np.isfinite(values).sum())][::-1]  # NaN sorts last
    count = min(EXTREMES, len(order) // 2)
    rows, columns = np.unravel_index(np.concatenate([order[:count], order[len(order) - count :]]), values.shape)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def by_pair(evaluation: pd.DataFrame, attack: str, column: str, classes: int) -> NDArray[np.float64]:
    """Mean of `column` by (label, target label), (k, k); NaN where there is no image."""
    chosen = evaluation[evaluation["attack"] == attack]
    means = chosen.groupby([chosen["label"].astype(int), chosen["target_label"].astype(int)])[column].mean()
    matrix = np.full((classes, classes), np.nan)
    for (label, target), value in means.items():
        matrix[label, target] = value
    return matrix


def pair_matrix(table: pd.DataFrame, column: str, classes: int) -> NDArray[np.float64]:
    """A column of a pairs table as a (label, target label) matrix, NaN on the diagonal."""
    matrix = np.full((classes, classes), np.nan)
    matrix[table["label"].to_numpy(), table["target_label"].to_numpy()] = table[column].to_numpy()
    return matrix


def outcome_figure(
    evaluation: pd.DataFrame, attacks: Sequence[str], outcome: str, class_names: tuple[str, ...]
) -> Figure:
    """Share of images with `outcome` by (label, target label), a matrix per attack, on one scale."""
    figure, axes = new_figure(4.6 * len(attacks), 4.2, 1, len(attacks))
    for plot, attack in zip(axes[0], attacks, strict=True):
        matrix = by_pair(evaluation, attack, outcome, len(class_names))
        pairs(plot, matrix, class_names, f"{outcome}, {attack}", low=0, high=1)
    return figure
