"""`reports/<study>.html` and `reports/figures/<study>/*.png`."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.artifacts.files import replacing


def write_page(path: Path, html: str) -> None:
    """Write one self-contained HTML file."""
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")


def write_figures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write `<name>.png` for each picture, and remove figures that are no longer made."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.png"):
        if path.stem not in pictures:
            path.unlink()
    for name, picture in pictures.items():
        with replacing(folder / f"{name}.png") as part:
            part.write_bytes(picture)
