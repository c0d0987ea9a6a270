"""An encoded image, as PNG or JPEG, to its pixels; and pixels to another size or number of channels."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import PipelineError

GRAY, COLOR = ("1", "L"), ("RGB",)
ALPHA = {"LA": "L", "La": "L", "RGBA": "RGB", "RGBa": "RGB", "PA": "RGB"}


def decode(content: bytes | Path, where: str) -> NDArray[np.uint8]:
    """Pixels uint8: (h, w) of a gray image, (h, w, 3) of any other.

    A palette becomes its colors. An alpha channel that hides nothing is dropped. A turned camera's note is left aside,
    and of several frames the first is taken.

    Raises PipelineError naming `where` if it is no image or a broken one, has more than 8 bits a channel, hides pixels
    behind an alpha channel, or has other channels than gray or RGB.
    """
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            return _pixels(image, where)
    except UnidentifiedImageError:
        raise PipelineError(f"{where}: expected an encoded image, found other bytes") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise PipelineError(f"{where}: expected a whole image: {' '.join(str(error).split())}") from None


def _pixels(image: Image.Image, where: str) -> NDArray[np.uint8]:
    if ";16" in str(getattr(image, "tile", "")) or image.mode.startswith(
        ("I", "F")
    ):  # Pillow halves 16 bits of RGB silently
        raise PipelineError(f"{where}: expected 8 bits a channel, found more ({image.mode}): save it with 8 bits")
    if image.mode in ALPHA or "transparency" in image.info:
        seen = image.convert("RGBA")
        if seen.getchannel("A").getextrema() != (255, 255):
            raise PipelineError(
                f"{where}: expected no transparent pixels, found some: lay the image on a background of your choice"
            )
        image = seen.convert("L" if image.mode in (*GRAY, "LA", "La") else "RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode not in (*GRAY, *COLOR):
        raise PipelineError(f"{where}: expected a gray or RGB image, found {image.mode}")
    return np.asarray(image.convert("L") if image.mode == "1" else image)


def with_channels(image: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """(h, w) or (h, w, 3) to (h, w), luminance of ITU-R 601, or to (h, w, 3)."""
    if image.ndim == 2 and channels == 3:
        return np.repeat(image[..., None], 3, axis=2)
    if image.ndim == 3 and channels == 1:
        return np.asarray(Image.fromarray(image).convert("L"))
    return image


def resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bilinear and antialiased; proportions are not kept."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
