"""What is on an image: boxes of known classes, and the two sides of a detection task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.images.labelled import Split


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one image.

    Attributes:
        width: of the image, pixels.
        height: of the image, pixels.
        corners: x1, y1, x2, y2 ``[n, 4]``, float32, pixels, inside the image and of positive size.
        labels: class numbers ``[n]``, int64.
        crowd: ``[n]``, bool: a group, or an object too hard to count (VOC's "difficult"). It is
            never trained on, and finding it or not changes no score.
    """

    width: int
    height: int
    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def countable(self) -> NDArray[np.bool_]:
        """Which boxes count ``[n]``."""
        counted: NDArray[np.bool_] = ~self.crowd
        return counted


@dataclass(frozen=True, eq=False)
class BoxSplit(Split):
    """One side of a detection task.

    Attributes:
        boxes: of each image. The label of an image is the class of its boxes that is the rarest
            on this side, or the number of classes where it has no box: by it images are drawn.
    """

    boxes: tuple[Boxes, ...]

    def part(self, positions: NDArray[np.int64]) -> BoxSplit:
        """As :meth:`Split.part`, with the boxes."""
        chosen = super().part(positions)
        boxes = tuple(self.boxes[i] for i in positions)
        return BoxSplit(chosen.items, chosen.labels, boxes)

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Countable boxes of each class ``[classes]``."""
        return count_boxes(self.boxes, classes)


def count_boxes(boxes: Sequence[Boxes], classes: int) -> NDArray[np.int64]:
    """Countable boxes of each class ``[classes]``."""
    labels = [one.labels[one.countable()] for one in boxes]
    return np.bincount(np.concatenate([*labels, np.empty(0, np.int64)]), minlength=classes)


def image_labels(boxes: Sequence[Boxes], classes: int) -> NDArray[np.int64]:
    """The class that stands for each image ``[n]``: see :class:`BoxSplit`."""
    counts = count_boxes(boxes, classes)
    return np.array(
        [
            min(one.labels.tolist(), key=lambda label: (counts[label], label), default=classes)
            for one in boxes
        ],
        np.int64,
    )
