"""Which anchors of which cells answer for which boxes.

A box is given to the anchors of every map that resemble it (IoU of the two with one centre, at
least `ALIKE`), and to the most alike one in any case. There the cell of its centre answers for it
and the neighbours on all four sides whose own cell the centre is near: few boxes then teach many
cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.heads.detection.anchors import overlap
from sparsebench.models.detection.grids import FORMS, Form

ALIKE = 0.4


@dataclass(frozen=True)
class Answers:
    """The answering cells of one map, one row each.

    Attributes:
        image: position in the batch ``[n]``, int64.
        anchor: of the map's ``[n]``, int64.
        row: of the cell ``[n]``, int64.
        column: of the cell ``[n]``, int64.
        box: corners x1, y1, x2, y2 ``[n, 4]``, input pixels.
        label: class numbers ``[n]``, int64.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    box: Tensor
    label: Tensor

    def to(self, device: torch.device) -> Answers:
        """The same on a device."""
        return Answers(**{name: value.to(device) for name, value in vars(self).items()})


def answers(
    images: NDArray[np.int64],
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    anchors: NDArray[np.float32],
    strides: Sequence[int],
    size: int,
    form: Form = FORMS["light"],
) -> list[Answers]:
    """The answering cells of each map.

    Args:
        images: position in the batch of each box ``[n]``.
        boxes: corners x1, y1, x2, y2 ``[n, 4]``, input pixels, of positive size.
        labels: class numbers ``[n]``.
        anchors: widths and heights ``[maps, k, 2]``, input pixels.
        strides: of the maps.
        size: side of the input, pixels.
        form: the formula of the boxes, which tells how far off a cell may answer.
    """
    maps, count = anchors.shape[:2]
    alike = overlap(boxes[:, 2:] - boxes[:, :2], anchors.reshape(-1, 2))
    good = alike >= ALIKE
    if len(boxes):
        good[np.arange(len(boxes)), alike.argmax(1)] = True
    good = good.reshape(len(boxes), maps, count)
    return [
        _of_map(images, boxes, labels, good[:, level], stride, size // stride, reach(form))
        for level, stride in enumerate(strides)
    ]


def reach(form: Form) -> float:
    """Cells between a centre and the middle of a cell that still answers for it.

    Half of what the formula could reach beyond its cell, since that is reached at infinity only.
    """
    return 0.5 + form.over / 2


def _of_map(
    images: NDArray[np.int64],
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    good: NDArray[np.bool_],
    stride: int,
    side: int,
    most: float,
) -> Answers:
    which, anchor = np.nonzero(good)
    centre = (boxes[which, :2] + boxes[which, 2:]) / 2 / stride
    own = np.clip(np.floor(centre), 0, side - 1).astype(np.int64)
    found = []
    for across, down in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        cell = own + np.array([across, down])
        near = np.abs(cell + 0.5 - centre).max(1) <= most
        inside = (cell >= 0).all(1) & (cell < side).all(1)
        taken = inside & (near | (across == down == 0))
        found.append((which[taken], anchor[taken], cell[taken, 1], cell[taken, 0]))
    box, kind, row, column = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Answers(
        torch.from_numpy(images[box]),
        torch.from_numpy(kind),
        torch.from_numpy(row),
        torch.from_numpy(column),
        torch.from_numpy(boxes[box]),
        torch.from_numpy(labels[box]),
    )
