"""Random crops and mirror images: the augmentation of the paper's training.

RandomResizedCrop as torchvision does it (Szegedy et al. 2015, "Going Deeper with
Convolutions", section 6): an area of 8-100 % of the image, a ratio of the sides of 3/4-4/3,
both drawn again for each image and epoch, resized to the network's input; then mirrored
with probability 1/2. All draws depend on seed, epoch and position alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.images.decode import resample

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
_TRIES = 10


@dataclass(frozen=True)
class Crop:
    """A cut of an image: first row and column, height and width in pixels, mirrored or not."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def random_crops(
    shapes: NDArray[np.int32],
    generator: np.random.Generator,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
) -> list[Crop]:
    """One crop for each image.

    Args:
        shapes: height and width ``[n, 2]``.
        generator: where the draws come from.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width over height.
    """
    count = len(shapes)
    height, width = shapes[:, :1].astype(float), shapes[:, 1:].astype(float)
    areas = height * width * generator.uniform(*scale, (count, _TRIES))
    ratios = np.exp(generator.uniform(np.log(ratio[0]), np.log(ratio[1]), (count, _TRIES)))
    wide = np.rint(np.sqrt(areas * ratios)).astype(int)
    high = np.rint(np.sqrt(areas / ratios)).astype(int)
    fits = (wide > 0) & (high > 0) & (wide <= width) & (high <= height)
    first = fits.argmax(axis=1)
    place = generator.random((count, 2))
    mirrored = generator.random(count) < 0.5
    crops = []
    for i, (rows, columns) in enumerate(shapes.tolist()):
        if fits[i].any():
            h, w = int(high[i, first[i]]), int(wide[i, first[i]])
            # Every place is as likely as every other.
            top = int(place[i, 0] * (rows - h + 1))
            left = int(place[i, 1] * (columns - w + 1))
        else:
            h, w = _largest(rows, columns, ratio)
            top, left = (rows - h) // 2, (columns - w) // 2
        crops.append(Crop(top, left, h, w, bool(mirrored[i])))
    return crops


def cut(pixels: NDArray[np.uint8], crop: Crop, size: int, interpolation: str) -> NDArray[np.uint8]:
    """The crop of an image ``[H, W, 3]`` at ``[size, size, 3]``, uint8."""
    part = pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    if part.shape[:2] != (size, size):
        part = resample(np.ascontiguousarray(part), size, size, interpolation)
    return part[:, ::-1] if crop.mirrored else part


def _largest(rows: int, columns: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """The largest centred crop whose ratio is allowed: torchvision's way out."""
    if columns / rows < ratio[0]:
        return min(rows, round(columns / ratio[0])), columns
    if columns / rows > ratio[1]:
        return rows, min(columns, round(rows * ratio[1]))
    return rows, columns
