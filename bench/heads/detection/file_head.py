"""Boxes from an ONNX file's own outputs: nothing of it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.heads.detection.decode import Found, decode, keep_best
from sparsebench.models.detection.grids import BOX_VALUES, FORMS
from sparsebench.models.onnx_file.boxes import OnnxBoxes, widths

_PIECE = 16  # images whose boxes are decoded at once


@dataclass(frozen=True)
class FileHead:
    """What a file tells of its boxes; found as a trained head finds them."""

    boxes: OnnxBoxes
    losses: tuple[float, ...] = ()

    def find(self, rows: NDArray[np.float32], channels: Sequence[int], size: int) -> list[Found]:
        """Boxes on images from the file's outputs ``[n, D]``, in input pixels."""
        found: list[Found] = []
        for start in range(0, len(rows), _PIECE):
            part = torch.from_numpy(np.array(rows[start : start + _PIECE]))
            values = torch.split(part, widths(self.boxes), 1)
            if self.boxes.decoded:
                found += self._decoded(values[0], size)
                continue
            grids = self.boxes.grids
            raw = [_planes(v, s) for v, s in zip(values, self.boxes.shapes, strict=True)]
            found += decode(raw, torch.tensor(grids.anchors), grids.strides, FORMS[grids.form])
        return found

    def _decoded(self, values: Tensor, size: int) -> list[Found]:
        """Centres, sides, presence and classes ``[n, boxes, 5 + C]`` as boxes."""
        boxed = values.view(len(values), *self.boxes.shapes[0])
        middle, half = boxed[..., :2], boxed[..., 2:4] / 2
        corners = torch.cat([middle - half, middle + half], -1).clamp(0, size)
        sure = boxed[..., 4:5] * boxed[..., BOX_VALUES:]
        return [keep_best(box, score) for box, score in zip(corners, sure, strict=True)]


def _planes(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Raw predictions of a map as ``[n, k (5 + C), H, W]``, from either layout."""
    one = values.view(len(values), *shape)
    return one if len(shape) == 3 else one.permute(0, 1, 4, 2, 3).flatten(1, 2)
