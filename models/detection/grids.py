"""How raw predictions of a detector become boxes: grids, anchors, a formula. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BOX_VALUES = 5
"""Of a box: x, y, width, height, presence; its classes follow."""
Sizes = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Form:
    """The formula of a box; t are raw values, s a sigmoid, c the cell, p the anchor.

    The centre is ``c - over + (1 + 2 * over) * s(t)``, in cells.

    Attributes:
        over: cells that a centre may lie outside its own.
        exponential: whether a side is ``p * exp(t)``; else it is ``p * (2 * s(t)) ** 2``.
    """

    over: float
    exponential: bool


FORMS: Mapping[str, Form] = {
    "light": Form(1.0, exponential=True),
    "yolov3": Form(0.0, exponential=True),
    "yolov5": Form(0.5, exponential=False),
}
"""The light head's; YOLOv3's (arXiv 1804.02767, section 2.1); YOLOv5's, as its authors state it:
``2 s(t) - 0.5 + c`` and ``p (2 s(t))**2``."""


@dataclass(frozen=True)
class Grids:
    """The grids that an architecture predicts boxes on.

    Attributes:
        strides: of its maps, pixels, in the order of its predictions.
        anchors: widths and heights of each map's boxes, input pixels.
        form: key of :data:`FORMS`.
    """

    strides: tuple[int, ...]
    anchors: tuple[Sizes, ...]
    form: str
