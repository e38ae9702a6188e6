"""Anchors: typical widths and heights of a task's boxes, found by k-means.

The distance of a box from an anchor is 1 - IoU of the two with one centre (Redmon and Farhadi,
YOLO9000, CVPR 2017, section 2), so that small boxes count as much as large ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 100
Sizes = NDArray[np.float32]


def anchor_sizes(sizes: Sizes, count: int, seed: int = 0) -> Sizes:
    """Widths and heights of anchors, by rising area.

    Args:
        sizes: width and height of each box ``[n, 2]``, pixels, above 0; at least one.
        count: of anchors.
        seed: of the start, which is drawn as k-means++ does.

    Returns:
        ``[count, 2]``; some are equal where there are fewer different boxes.
    """
    generator = np.random.default_rng(seed)
    found = sizes[[int(generator.integers(len(sizes)))]].astype(np.float64)
    while len(found) < count:
        far = (1 - overlap(sizes, found).max(1)) ** 2
        total = far.sum()
        chances = far / total if total > 0 else np.full(len(sizes), 1 / len(sizes))
        found = np.concatenate([found, sizes[[int(generator.choice(len(sizes), p=chances))]]])
    for _ in range(ROUNDS):
        nearest = overlap(sizes, found).argmax(1)
        moved = np.stack(
            [
                np.median(mine, axis=0) if len(mine := sizes[nearest == k]) else found[k]
                for k in range(count)
            ]
        )
        if np.allclose(moved, found):
            break
        found = moved
    return found[np.argsort(found.prod(1), kind="stable")].astype(np.float32)


def overlap(sizes: Sizes, anchors: NDArray[np.floating]) -> NDArray[np.float64]:
    """IoU of boxes ``[n, 2]`` and anchors ``[k, 2]`` (widths, heights) with one centre ``[n, k]``.

    All above 0, in one unit.
    """
    both = np.minimum(sizes[:, None], anchors[None]).astype(np.float64).prod(2)
    either = sizes.astype(np.float64).prod(1)[:, None] + anchors.astype(np.float64).prod(1) - both
    return np.asarray(both / either)
