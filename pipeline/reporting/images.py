"""Pictures of images and perturbations."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.reporting.style import DIVERGING, MOST_CLASSES, class_ticks, new_figure

Floats = NDArray[np.float32]


def tile(images: Floats, gap: int = 1, fill: float = 1.0) -> Floats:
    """A matrix of images (rows, columns, c, h, w) as one picture (H, W, c); NaN images are left blank."""
    rows, columns, channels, height, width = images.shape
    picture = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), fill, np.float32)
    for i in range(rows):
        for j in range(columns):
            if np.isfinite(images[i, j]).all():
                top, left = i * (height + gap), j * (width + gap)
                picture[top : top + height, left : left + width] = images[i, j].transpose(1, 2, 0)
    return picture


def matrix_figure(images: Floats, class_names: Sequence[str], title: str, *, low: float, high: float) -> Figure:
    """A (label, target label) matrix of images (m, m, c, h, w), values from `low` to `high`.

    Of the first m classes, of MOST_CLASSES at most.
    """
    names = class_names[: min(len(images), MOST_CLASSES)]
    count = len(names)
    channels, height, width = images.shape[2:]
    figure, axes = new_figure(7.4, 7.2)
    picture = tile(np.clip((images[:count, :count] - low) / (high - low), 0, 1))
    plot = axes[0, 0]
    shown = plot.imshow(
        picture if channels == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    class_ticks(plot, names, _centers(count, width, 1))
    class_ticks(plot, names, _centers(count, height, 1), y=True)
    plot.set_xlabel("target label")
    plot.set_ylabel("original label")
    plot.tick_params(length=0)
    plot.spines[:].set_visible(False)
    plot.set_title(title)
    if channels == 1:
        bar = figure.colorbar(shown, ax=plot, fraction=0.04, pad=0.02, ticks=[0, 0.5, 1])
        bar.ax.set_yticklabels([f"{value:.2g}" for value in (low, (low + high) / 2, high)])
    return figure


def image_grid(
    rows: Sequence[Floats], names: Sequence[str], title: str, columns: Sequence[str] | None = None
) -> Figure:
    """One row of images (n, c, h, w) per name, with `columns` above; rows with negative values are
    perturbations: symmetric around gray (color) or blue to red (one channel), all on one scale."""
    count, (height, width) = len(rows[0]), rows[0].shape[2:]
    # One picture on one pair of axes: a pair of axes per image took ten times as long.
    gap = max(1, round(max(height, width) / 12))
    limit = max((float(np.abs(images).max()) for images in rows if images.min() < 0), default=1.0)
    labels, colored = [], []
    for name, images in zip(names, rows, strict=True):
        signed = images.min() < 0
        labels.append(f"{name}\n(±{limit:.2g})" if signed else name)
        if images.shape[1] == 3:
            colored.append(np.clip(0.5 + 0.5 * images / limit if signed else images, 0, 1))
        else:
            shades = colormaps[DIVERGING if signed else "gray"](
                0.5 + 0.5 * images[:, 0] / limit if signed else images[:, 0]
            )
            colored.append(shades[..., :3].transpose(0, 3, 1, 2))
    tall = min(3.0, height / width)
    figure, axes = new_figure(0.9 + 0.72 * count, 0.6 + 0.74 * tall * len(rows))
    plot = axes[0, 0]
    plot.imshow(tile(np.stack(colored).astype(np.float32), gap), interpolation="nearest")
    plot.set_yticks(_centers(len(rows), height, gap), labels)
    plot.set_xticks(_centers(count, width, gap), columns if columns is not None else [""] * count, fontsize=8)
    plot.xaxis.tick_top()
    plot.tick_params(length=0)
    plot.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure


def magnitude_matrix(perturbations: Floats) -> tuple[Floats, float]:
    """|mean perturbation| scaled to the 99.5th percentile, as the paper's Figure 4, and that scale."""
    sizes = np.abs(perturbations)
    scale = float(np.nanpercentile(sizes, 99.5)) or 1.0
    return np.asarray(sizes, np.float32), scale


def _centers(count: int, side: int, gap: int) -> list[float]:
    """Where the middles of `count` images lie, `side` pixels each."""
    return [index * (side + gap) + side / 2 - 0.5 for index in range(count)]
