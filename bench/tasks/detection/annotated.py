"""What the readers of annotation formats return, and what was wrong with it, counted and named.

Whatever cannot be used is left out and said; with ``--strict`` it is an error. A class number that
no class has is an error in any case: nobody can tell what was meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sparsebench.bench.tasks.detection.boxes import Boxes
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.text import printable, shortened

MOST_BOXES = 10_000
"""Of an image: more are no annotation."""


@dataclass(frozen=True)
class Box:
    """One box as its file gives it: corners in pixels, unchecked."""

    label: int
    x1: float
    y1: float
    x2: float
    y2: float
    crowd: bool = False


@dataclass
class Annotated:
    """An image of an annotation file.

    Attributes:
        path: of the image, below the root.
        boxes: of it.
        size: width and height that the file states, pixels; None where it states none.
        relative: whether corners are shares of the image (YOLO) and no pixels.
    """

    path: str
    boxes: list[Box] = field(default_factory=list)
    size: tuple[int, int] | None = None
    relative: bool = False


@dataclass
class Faults:
    """Kind of fault -> names of what has it."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """One more."""
        self.found.setdefault(kind, []).append(printable(name))

    def lines(self) -> list[str]:
        """``3 boxes of zero size: left out (train/1.jpg box 2, …)``."""
        return [
            f"{len(names)} {kind} ({shortened(names, 3)})" for kind, names in self.found.items()
        ]


OUTSIDE = "box(es) outside their image: left out"
EMPTY = "box(es) of zero size or without finite numbers: left out"
TINY = "box(es) smaller than a pixel (are they shares of the image, not pixels?): left out"
CUT = "box(es) reach over the edge of their image: cut there"
MISSING = "annotated image(s) that are not there: left out"
UNLISTED = "image(s) without an annotation: left out"
TWICE = "image(s) annotated twice: the boxes are joined"
OTHER_SIZE = "image(s) of another size than the annotation says: left out"


def checked_boxes(
    image: Annotated, size: tuple[int, int], classes: Sequence[str], faults: Faults
) -> Boxes:
    """The boxes of an image that lie on it.

    Args:
        image: as its file gives it.
        size: true width and height, pixels.
        classes: names; a label is a position among them.
        faults: receives what is left out or cut.

    Raises:
        SparsebenchError: more boxes than an image can have.
    """
    if len(image.boxes) > MOST_BOXES:
        raise SparsebenchError(
            f"'{printable(image.path)}' has {len(image.boxes)} boxes; at most {MOST_BOXES} are "
            "read.",
            "Check the annotation.",
        )
    width, height = size
    kept: list[tuple[float, float, float, float]] = []
    labels, crowd = [], []
    for number, box in enumerate(image.boxes, 1):
        name = f"{image.path} box {number}"
        x1, y1, x2, y2 = box.x1, box.y1, box.x2, box.y2
        if image.relative:
            x1, y1, x2, y2 = x1 * width, y1 * height, x2 * width, y2 * height
        if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 - x1 <= 0 or y2 - y1 <= 0:
            faults.add(EMPTY, name)
            continue
        if x2 - x1 < 1 and y2 - y1 < 1:
            faults.add(TINY, name)
            continue
        inside = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
        if inside[2] - inside[0] <= 0 or inside[3] - inside[1] <= 0:
            faults.add(OUTSIDE, name)
            continue
        # Half a pixel is rounding: YOLO's files have six digits, VOC's count pixels from 1.
        if max(abs(a - b) for a, b in zip(inside, (x1, y1, x2, y2), strict=True)) > 1.0:
            faults.add(CUT, name)
        kept.append(inside)
        labels.append(box.label)
        crowd.append(box.crowd)
    return Boxes(
        width,
        height,
        np.array(kept, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(crowd, bool),
    )


def refuse_unknown_classes(unknown: Mapping[str, int], classes: Sequence[str], where: str) -> None:
    """Refuse class numbers that no class has.

    Args:
        unknown: number as it is written -> how many boxes have it.
        classes: names of the known ones.
        where: the annotation file or folder.

    Raises:
        SparsebenchError: there are some; says which, and how many boxes they are on.
    """
    if unknown:
        named = [f"{number} ({count})" for number, count in unknown.items()]
        raise SparsebenchError(
            f"{sum(unknown.values())} box(es) of '{where}' have a class that is none of the "
            f"{len(classes)}: {shortened(named)}.",
            f"The classes are {shortened(list(classes))}; correct the list or the boxes.",
        )
