"""An ONNX file that finds boxes: which outputs tell them, found from their shapes.

Two layouts of YOLOv5's exports are known (SparseZoo's too): one output of decoded boxes
``[N, n, 5 + C]`` (centre and sides in input pixels, presence, classes, 0-1), or three raw ones on
strides 8, 16 and 32, ``[N, 3 (5 + C), H, W]`` or ``[N, 3, H, W, 5 + C]``. Where a file has both,
the raw ones are taken, so that decoding is outside its graph as with every other detector, with the
anchors that lead from the ones to the others; where none do, the decoded ones are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.detection.grids import BOX_VALUES, Grids, Sizes
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.models.onnx_file.backbone import OnnxBackbone

STRIDES, PER_CELL = (8, 16, 32), 3
ROUNDING = 0.01
"""How much an anchor may differ from cell to cell, of itself."""


@dataclass(frozen=True)
class OnnxBoxes:
    """Where a file's boxes stand.

    Attributes:
        tensors: names of the outputs, raw ones from fine to coarse.
        shapes: of each for one image.
        classes: C.
        decoded: whether the file decodes them itself.
        anchors: of raw outputs, where the file's own decoding tells them; else YOLOv5's.
    """

    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    classes: int
    decoded: bool
    anchors: tuple[Sizes, ...] | None = None

    @property
    def grids(self) -> Grids:
        """Of raw outputs: YOLOv5's."""
        from sparsebench.models.architectures.yolov5 import GRIDS

        return GRIDS if self.anchors is None else replace(GRIDS, anchors=self.anchors)


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
    graph = OwnGraph(backbone.file, names)
    tails = [tuple(shape[1:]) for shape in graph.shapes(side)]
    sides = [side // stride for stride in STRIDES]
    count = PER_CELL * sum(here**2 for here in sides)
    decoded = next(
        (
            OnnxBoxes((name,), (tail,), tail[1] - BOX_VALUES, decoded=True)
            for name, tail in zip(names, tails, strict=True)
            if len(tail) == 2 and tail[0] == count and tail[1] > BOX_VALUES
        ),
        None,
    )
    kept = [one for here in sides if (one := _level(names, tails, here)) is not None]
    if len(kept) < len(sides) or len({classes for _, _, classes in kept}) > 1:
        return decoded
    tensors, shapes, classes = zip(*kept, strict=True)
    raw = OnnxBoxes(tensors, shapes, classes[0], decoded=False)
    if decoded is None or decoded.classes != raw.classes:
        return raw
    # Noise, whose cells differ: where all are equal any formula has anchors.
    noise = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    values = dict(zip(names, graph.run(noise), strict=True))
    anchors = _anchors([values[name][0] for name in tensors], values[decoded.tensors[0]][0])
    return decoded if anchors is None else replace(raw, anchors=anchors)


def _anchors(
    raw: Sequence[NDArray[np.float32]], decoded: NDArray[np.float32]
) -> tuple[Sizes, ...] | None:
    """The anchors by which YOLOv5's formula makes an image's boxes ``[n, 5 + C]`` of its raw ones.

    Authors fit them to their own boxes. None where there are none: the file has another formula.
    """
    width, start = decoded.shape[1], 0
    found: list[Sizes] = []
    for one in raw:
        if one.ndim == 3:
            one = one.reshape(PER_CELL, width, *one.shape[1:]).transpose(0, 2, 3, 1)
        values = one.reshape(PER_CELL, -1, width)
        end = start + PER_CELL * values.shape[1]
        sides = decoded[start:end].reshape(values.shape)[..., 2:4]
        start = end
        with np.errstate(all="ignore"):
            each = sides / (2 / (1 + np.exp(-values[..., 2:4]))) ** 2
        sizes = np.median(each, axis=1)
        if not np.all(np.abs(each - sizes[:, None]) <= ROUNDING * sizes[:, None]):
            return None
        found.append(tuple((float(w), float(h)) for w, h in sizes))
    return tuple(found)


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
