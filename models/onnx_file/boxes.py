"""An ONNX file that finds boxes: which outputs tell them, found from their shapes.

Two layouts of YOLOv5's exports are known (SparseZoo's too): one output of decoded boxes
``[N, n, 5 + C]`` (centre and sides in input pixels, presence, classes, 0-1), or three raw ones on
strides 8, 16 and 32, ``[N, 3 (5 + C), H, W]`` or ``[N, 3, H, W, 5 + C]``. Where a file has both,
the raw ones are taken, so that decoding is outside its graph as with every other detector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sparsebench.models.detection.grids import BOX_VALUES, Grids
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.models.onnx_file.backbone import OnnxBackbone

STRIDES, PER_CELL = (8, 16, 32), 3


@dataclass(frozen=True)
class OnnxBoxes:
    """Where a file's boxes stand.

    Attributes:
        tensors: names of the outputs, raw ones from fine to coarse.
        shapes: of each for one image.
        classes: C.
        decoded: whether the file decodes them itself.
    """

    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    classes: int
    decoded: bool

    @property
    def grids(self) -> Grids:
        """Of raw outputs: YOLOv5's, as nothing in a file tells others."""
        from sparsebench.models.architectures.yolov5 import GRIDS

        return GRIDS


def with_boxes(backbone: OnnxBackbone, size: int, classes: int) -> OnnxBackbone:
    """The same file with its boxes as its only outputs, for images of 0..1.

    Args:
        backbone: opened file.
        size: side of the input, pixels.
        classes: C of the task.

    Raises:
        SparsebenchError: its outputs are no boxes of a known layout, or of other classes.
    """
    from sparsebench.models.card_file import card_of

    found = find_boxes(backbone, backbone.side(size))
    path = backbone.file.path
    if found is None:
        raise SparsebenchError(
            f"'{path}' has no outputs that are known as boxes: one [N, boxes, 5 + classes], or "
            f"three on strides {', '.join(map(str, STRIDES))}.",
            "Of a classifier the checkpoint can be taken: a head of boxes is trained on its maps.",
        )
    if found.classes != classes:
        raise SparsebenchError(
            f"'{path}' finds boxes of {found.classes} classes, the task has {classes}.",
            "Name a task of its classes, or its checkpoint, whose last layers are trained again.",
        )
    card = backbone.card
    if card_of(path) is None and backbone.file.own_scaling is None:
        plain = replace(card.preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        card = replace(card, preprocessing=plain)
    return replace(backbone, card=card, file=replace(backbone.file, head=None, boxes=found))


def find_boxes(backbone: OnnxBackbone, side: int) -> OnnxBoxes | None:
    """The boxes among a file's outputs; None where there are none.

    Raises:
        SparsebenchError: the file does not run at this size.
    """
    from sparsebench.models.onnx_file.running import OwnGraph

    names = [output.name for output in backbone.file.model.graph.output]
    tails = [tuple(shape[1:]) for shape in OwnGraph(backbone.file, names).shapes(side)]
    sides = [side // stride for stride in STRIDES]
    raw = [_level(names, tails, here) for here in sides]
    if all(one is not None for one in raw):
        kept: list[Any] = [one for one in raw if one is not None]
        counts = {classes for _, _, classes in kept}
        if len(counts) == 1:
            tensors, shapes, _ = zip(*kept, strict=True)
            return OnnxBoxes(tuple(tensors), tuple(shapes), counts.pop(), decoded=False)
    boxes = PER_CELL * sum(here**2 for here in sides)
    for name, tail in zip(names, tails, strict=True):
        if len(tail) == 2 and tail[0] == boxes and tail[1] > BOX_VALUES:
            return OnnxBoxes((name,), (tail,), tail[1] - BOX_VALUES, decoded=True)
    return None


def _level(
    names: Sequence[str], tails: Sequence[tuple[int, ...]], side: int
) -> tuple[str, tuple[int, ...], int] | None:
    """The raw output of planes of this side: its name, shape and number of classes."""
    for name, tail in zip(names, tails, strict=True):
        if len(tail) == 3 and tail[1:] == (side, side):
            values, odd = divmod(tail[0], PER_CELL)
        elif len(tail) == 4 and tail[:3] == (PER_CELL, side, side):
            values, odd = tail[3], 0
        else:
            continue
        if not odd and values > BOX_VALUES:
            return name, tail, values - BOX_VALUES
    return None


def widths(boxes: OnnxBoxes) -> list[int]:
    """Values of each output for one image."""
    return [math.prod(shape) for shape in boxes.shapes]


def side_of(boxes: OnnxBoxes) -> int:
    """Side of the input, pixels, from the number of decoded boxes."""
    each = PER_CELL * sum(1 / stride**2 for stride in STRIDES)
    return round(math.sqrt(boxes.shapes[0][0] / each))
