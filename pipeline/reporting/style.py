"""How every figure looks: one size of text, one palette, and nothing of a person's settings."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

matplotlib.rcdefaults()
matplotlib.rcParams.update(
    {
        "font.family": ["DejaVu Sans"],  # Matplotlib's own; looking for ten others at every text takes long
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
LINES = [(color, style) for style in ("-", "--", "-.", ":") for color in COLORS]  # one after the other, 32 in all
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
ROOM = 40  # letters, of all ticks of an axis: half a page wide
MOST_CLASSES = 20  # that a figure shows side by side and a reader can still tell apart


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, NDArray[Any]]:
    """A figure of that size in inches and its axes as an array (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.asarray(figure.subplots(rows, columns, squeeze=False))


def as_png(figure: Figure) -> bytes:
    """The figure as PNG bytes that hold no version and no time."""
    buffer = io.BytesIO()
    # `savefig` would draw everything twice: once for the layout only.
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def shortened(name: str, most: int = 14) -> str:
    """A class's name, its end left out where it is longer than a figure has room for; a dollar begins no formula."""
    return (name if len(name) <= most else f"{name[: most - 1]}…").replace("$", r"\$")


def towards(label: str, target: str) -> str:
    """A pair as a column's title: "3 → 5", of long names the beginnings."""
    pair = f"{label} → {target}" if max(len(label), len(target)) < 3 else f"{label[:5]}→{target[:5]}"
    return pair.replace("$", r"\$")


def class_ticks(
    axes: Axes,
    names: Sequence[str],
    at: Sequence[float] | None = None,
    *,
    y: bool = False,
    most: int = 14,
    room: int = 2 * MOST_CLASSES,
) -> None:
    """A tick for every name at 0, 1, ... or at `at`; tilted where names are long, every nth where there are many.

    most : the most letters of a name. room : the most names.
    """
    step = -(-len(names) // room)
    places = list(range(len(names)) if at is None else at)[::step]
    shown = [shortened(name, most) for name in names[::step]]
    long = max(map(len, shown)) > 2 or len(shown) > MOST_CLASSES
    if y:
        axes.set_yticks(places, shown)
    else:
        axes.set_xticks(places, shown, rotation=45 if long else 0, ha="right" if long else "center")


def label_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Ticks of a logarithmic x axis at exactly these values, written plainly; tilted where they would meet."""
    ticks = sorted(values)
    words = [f"{value:g}" for value in ticks]
    tilted: dict[str, Any] = {"rotation": 45, "ha": "right"} if sum(map(len, words)) > ROOM else {}
    axes.set_xticks(ticks, words, fontsize=7, **tilted)
    axes.xaxis.set_minor_locator(NullLocator())
