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
from sparsebench.models.onnx_file.boxes import OnnxBoxes, side_of, widths

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
            found += self.decode(self.predict(rows[start : start + _PIECE], channels, size))
        return found

    def predict(
        self, rows: NDArray[np.float32], channels: Sequence[int], size: int
    ) -> list[Tensor]:
        """The file's outputs, raw ones as ``[n, k (5 + C), H, W]``."""
        values = torch.split(torch.from_numpy(np.array(rows)), widths(self.boxes), 1)
        shaped = [v.view(len(v), *s) for v, s in zip(values, self.boxes.shapes, strict=True)]
        return [_planes(one) for one in shaped]

    def decode(self, raw: Sequence[Tensor]) -> list[Found]:
        """Boxes of each image from :meth:`predict`, in input pixels."""
        if not self.boxes.decoded:
            grids = self.boxes.grids
            return decode(raw, torch.tensor(grids.anchors), grids.strides, FORMS[grids.form])
        (boxed,) = raw
        middle, half = boxed[..., :2], boxed[..., 2:4] / 2
        corners = torch.cat([middle - half, middle + half], -1).clamp(0, side_of(self.boxes))
        sure = boxed[..., 4:5] * boxed[..., BOX_VALUES:]
        return [keep_best(box, score) for box, score in zip(corners, sure, strict=True)]


def _planes(values: Tensor) -> Tensor:
    """Raw predictions ``[n, k, H, W, 5 + C]`` in the layout of the others, which stay."""
    return values if values.dim() < 5 else values.permute(0, 1, 4, 2, 3).flatten(1, 2)
