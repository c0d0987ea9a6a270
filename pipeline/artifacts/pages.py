"""`reports/<dataset>.html` and `reports/figures/<dataset>/*.png`."""

import io
from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.artifacts.files import replacing
from pipeline.errors import PipelineError


def read_template(path: Path) -> str:
    """A page's template; PipelineError if it is missing."""
    try:
        return path.read_text()
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected a report template") from None


def write_page(path: Path, html: str) -> None:
    """Write one self-contained HTML file."""
    with replacing(path) as part:
        part.write_text(html)


def as_png(figure: Figure) -> bytes:
    """The figure as PNG bytes that hold no version and no time."""
    buffer = io.BytesIO()
    # `savefig` would draw everything twice: once for the layout only.
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def write_figures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write `<name>.png` for each picture, and remove figures that are no longer made."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.png"):
        if path.stem not in pictures:
            path.unlink()
    for name, picture in pictures.items():
        with replacing(folder / f"{name}.png") as part:
            part.write_bytes(picture)
