"""Tasks whose images are arrays in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparsebench.bench.tasks.base import Metric, Task
from sparsebench.models.images.labelled import DigestRow, Split, split_digest


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images ``[n, H, W]`` or ``[n, H, W, 3]``, uint8; items are positions."""

    pixels: NDArray[np.uint8]

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        """One RGB image; array images are small and never shrunk."""
        return Image.fromarray(self.pixels[cast(int, item)]).convert("RGB")


def array_task(
    name: str,
    classes: Sequence[str],
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    metric: Metric = "top1",
) -> Task:
    """A task from images in memory.

    Args:
        name: of the task.
        classes: class names.
        pixels: ``[n, H, W]`` or ``[n, H, W, 3]``.
        labels: ``[n]``.
        train: positions of the training images, in order.
        test: positions of the test images, in order.
        metric: of the task.

    Raises:
        SparsebenchError: what :class:`Task` raises.
    """

    def rows(positions: NDArray[np.int64]) -> list[DigestRow]:
        return [
            (str(i), int(labels[i]), hashlib.sha256(pixels[i].tobytes()).hexdigest())
            for i in positions
        ]

    def split(positions: NDArray[np.int64]) -> Split:
        return Split(positions.tolist(), labels[positions].astype(np.int64))

    return Task(
        name=name,
        classes=tuple(classes),
        metric=metric,
        train=split(train),
        test=split(test),
        sha256=split_digest(classes, rows(train), rows(test)),
        store=ArrayImages(pixels),
    )
