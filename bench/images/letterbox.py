"""Whole images in a square input: at random sizes and places, some mirrored; boxes follow.

The scale jitter and the horizontal flips that detectors are usually trained with. An image is drawn
at 1 / :data:`JITTER` to :data:`JITTER` of the size that just fits, evenly in its logarithm, then
placed anywhere: where it is smaller than the input the rest is the mean, where it is larger a part
is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

JITTER = 1.5


@dataclass(frozen=True)
class Placement:
    """Where an image goes.

    Attributes:
        left: of it in the input, pixels; negative where it reaches beyond.
        top: likewise.
        width: that it is resized to, pixels.
        height: likewise.
        mirrored: left and right changed places before.
    """

    left: int
    top: int
    width: int
    height: int
    mirrored: bool = False


def random_placements(
    shapes: NDArray[np.int32], size: int, generator: np.random.Generator, jitter: float = JITTER
) -> list[Placement]:
    """One for each image.

    Args:
        shapes: height and width ``[n, 2]`` of images that just fit.
        size: side of the input, pixels.
        generator: where the draws come from.
        jitter: most that an image is enlarged or shrunk by.
    """
    count = len(shapes)
    factors = np.exp(generator.uniform(-np.log(jitter), np.log(jitter), count))
    sides = np.maximum(1, np.rint(shapes * factors[:, None])).astype(int)
    place = generator.random((count, 2))
    mirrored = generator.random(count) < 0.5
    # Every place is as likely as every other, from one edge at the edge to the other.
    least = np.minimum(0, size - sides)
    corners = least + (place * (np.abs(size - sides) + 1)).astype(int)
    return [
        Placement(left, top, width, height, bool(turned))
        for (top, left), (height, width), turned in zip(
            corners.tolist(), sides.tolist(), mirrored, strict=True
        )
    ]


def placed_boxes(
    corners: NDArray[np.float32],
    sides: tuple[float, float],
    placement: Placement,
    size: int,
    visible: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes of an image where it was placed.

    Args:
        corners: x1, y1, x2, y2 ``[n, 4]``, pixels of the image.
        sides: width and height of the image that they are pixels of.
        placement: of the image.
        size: side of the input, pixels.
        visible: least share (0-1) of a box's area that must lie in the input.

    Returns:
        The boxes that stay, cut at the input's edges ``[m, 4]``, input pixels; and which they
        are ``[n]``.
    """
    scale = np.array([placement.width / sides[0], placement.height / sides[1]] * 2)
    moved = corners.astype(np.float64) * scale
    if placement.mirrored:
        moved[:, [0, 2]] = placement.width - moved[:, [2, 0]]
    moved += [placement.left, placement.top] * 2
    cut = moved.clip(0, size)
    areas = [(one[:, 2:] - one[:, :2]).prod(1) for one in (cut, moved)]
    inside = (cut[:, 2:] - cut[:, :2]).min(1, initial=np.inf) >= 1
    kept = inside & (areas[0] >= visible * areas[1])
    return cut[kept].astype(np.float32), kept
