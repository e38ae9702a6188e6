"""From the bytes of an image file to an RGB image, or to the reason why not.

Decisions:

- **Orientation flags (EXIF) are not applied**, and transparency is dropped, not blended:
  so torchvision's ``ImageFolder`` and timm read images, and features stay comparable.
- **16-bit greys keep their high byte.** Pillow's own conversion clips them to white.
- **Images far larger than needed are shrunk while they are decoded**: JPEGs by the
  decoder itself (a half, a quarter, an eighth), others by averaging whole blocks. Only
  images whose short side is at least 4 times the size to come are touched, and what is
  left is still at least twice that size, so that the final resize does the smoothing.
- **Bombs** (more than `MAX_PIXELS` pixels, or files over `MAX_BYTES`) count as unreadable.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

# Formats a data set's images come in. The others Pillow knows are left out on purpose:
# some of them start other programs (EPS) or are documents, not images.
_WANTED = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF", "AVIF")
MAX_PIXELS = 89_478_485
"""Pillow's own limit for a suspicious image: 256 MiB as RGB."""
MAX_BYTES = 256 * 2**20
SHRINK_MARGIN = 2
"""An image shrunk while decoding keeps at least so many times the size asked for."""

Image.init()
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
# Pillow warns of oddities (a bomb we refuse, a broken EXIF block of a fine image); what
# matters becomes a reason, the rest would be noise in the middle of a progress display.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImageError(Exception):
    """An image that cannot be had; the message is the reason, without the name."""


def decode_image(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode an image file to RGB.

    Args:
        data: the file's content.
        at_least: short side in pixels that the image will be resized to; far larger
            ones may be shrunk (see the module's decisions). None decodes it whole.

    Raises:
        UnreadableImageError: with the reason.
    """
    # Decoders that meet hostile bytes raise nearly anything (SyntaxError, struct.error,
    # IndexError, OverflowError, ...): whatever it is, this image cannot be read.
    try:
        image = _open(data)
        if at_least:
            side = at_least * SHRINK_MARGIN
            image.draft(None, (side, side))
        image.load()
        image = _to_rgb(image)
        if at_least and (factor := min(image.size) // (at_least * SHRINK_MARGIN)) > 1:
            image = image.reduce(factor)
        return image
    except UnreadableImageError:
        raise
    except Exception as error:
        raise UnreadableImageError(_reason(error)) from error


def check_image(data: bytes) -> str | None:
    """Why an image file cannot be decoded; None when it can.

    All of its data is read, so that truncation is found. JPEGs are decoded at an eighth,
    which reads the same bytes in a fraction of the time.
    """
    try:
        image = _open(data)
        image.draft(None, (1, 1))
        image.load()
        if image.mode not in ("RGB", "L", "P", "RGBA", "CMYK", "1", "LA"):
            _to_rgb(image)
    except UnreadableImageError as error:
        return str(error)
    except Exception as error:
        return _reason(error)
    return None


def _open(data: bytes) -> Image.Image:
    """Read the header only; the size is known before any pixel is decoded."""
    if not data:
        raise UnreadableImageError("the file is empty")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels: a decompression bomb?")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise UnreadableImageError("floating-point values have no agreed scale")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableImageError("values of more than 16 bits have no agreed scale")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    if isinstance(error, Image.DecompressionBombError):
        return "a decompression bomb?"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = " ".join(str(error).split())
    return f"it cannot be decoded ({text or type(error).__name__})"
