"""From the bytes of a picture file to an RGB picture, or to the reason why not.

Decisions:

- **Orientation flags (EXIF) are not applied**, and transparency is dropped, not blended:
  so torchvision's ``ImageFolder`` and timm read pictures, and features stay comparable.
- **16-bit greys keep their high byte.** Pillow's own conversion clips them to white.
- **Pictures far larger than needed are shrunk while they are decoded**: JPEGs by the
  decoder itself (a half, a quarter, an eighth), others by averaging whole blocks. Only
  pictures whose short side is at least 4 times the size to come are touched, and what is
  left is still at least twice that size, so that the final resize does the smoothing.
- **Bombs** (more than `MAX_PIXELS` pixels, or files over `MAX_BYTES`) count as unreadable.
"""

from __future__ import annotations

import io
import warnings
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

# Formats a data set's pictures come in. The others Pillow knows are left out on purpose:
# some of them start other programs (EPS) or are documents, not pictures.
_WANTED = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF", "AVIF")
_ENDINGS = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"),
    *("ppm", "pgm", "pbm", "pnm", "tif", "tiff", "avif"),
)
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS)
MAX_PIXELS = 89_478_485
"""Pillow's own limit for a suspicious picture: 256 MiB as RGB."""
MAX_BYTES = 256 * 2**20
SHRINK_MARGIN = 2
"""A picture shrunk while decoding keeps at least so many times the size asked for."""

Image.init()
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
# Pillow warns of oddities (a bomb we refuse, a broken EXIF block of a fine picture); what
# matters becomes a reason, the rest would be noise in the middle of a progress display.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadablePictureError(Exception):
    """A picture that cannot be had; the message is the reason, without the name."""


def is_picture_name(name: str) -> bool:
    """Whether a file's name says that it holds a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def decode_picture(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode a picture file to RGB.

    Args:
        data: the file's content.
        at_least: short side in pixels that the picture will be resized to; far larger
            ones may be shrunk (see the module's decisions). None decodes it whole.

    Raises:
        UnreadablePictureError: with the reason.
    """
    # Decoders that meet hostile bytes raise nearly anything (SyntaxError, struct.error,
    # IndexError, OverflowError, ...): whatever it is, this picture cannot be read.
    try:
        picture = _open(data)
        if at_least:
            side = at_least * SHRINK_MARGIN
            picture.draft(None, (side, side))
        picture.load()
        picture = _to_rgb(picture)
        if at_least and (factor := min(picture.size) // (at_least * SHRINK_MARGIN)) > 1:
            picture = picture.reduce(factor)
        return picture
    except UnreadablePictureError:
        raise
    except Exception as error:
        raise UnreadablePictureError(_reason(error)) from error


def check_picture(data: bytes) -> str | None:
    """Why a picture file cannot be decoded; None when it can.

    All of its data is read, so that truncation is found. JPEGs are decoded at an eighth,
    which reads the same bytes in a fraction of the time.
    """
    try:
        picture = _open(data)
        picture.draft(None, (1, 1))
        picture.load()
        if picture.mode not in ("RGB", "L", "P", "RGBA", "CMYK", "1", "LA"):
            _to_rgb(picture)
    except UnreadablePictureError as error:
        return str(error)
    except Exception as error:
        return _reason(error)
    return None


def _open(data: bytes) -> Image.Image:
    """Read the header only; the size is known before any pixel is decoded."""
    if not data:
        raise UnreadablePictureError("the file is empty")
    picture = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise UnreadablePictureError(f"{width} x {height} pixels: a decompression bomb?")
    return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode == "F":
        raise UnreadablePictureError("floating-point values have no agreed scale")
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadablePictureError("values of more than 16 bits have no agreed scale")
        picture = Image.fromarray((values >> 8).astype(np.uint8))
    return picture.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known picture format"
    if isinstance(error, Image.DecompressionBombError):
        return "a decompression bomb?"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = " ".join(str(error).split())
    return f"it cannot be decoded ({text or type(error).__name__})"
