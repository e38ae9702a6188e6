"""The loss of a detection head: place and size, presence, class.

GIoU of the answering cells' boxes (Rezatofighi et al., CVPR 2019), binary cross-entropy of presence
in all cells, whose target is the IoU that the box has reached (YOLO's confidence), and binary
cross-entropy of the classes in the answering cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sparsebench.bench.heads.detection.decode import LIGHT, by_anchor, corners
from sparsebench.bench.heads.detection.targets import Answers
from sparsebench.models.architectures.without_compiler import torchvision_ops
from sparsebench.models.detection.grids import BOX_VALUES, Form

BOX, PRESENCE, CLASS = 2.0, 1.0, 0.5
"""Weights of the three parts."""


def detection_loss(
    raw: Sequence[Tensor],
    found: Sequence[Answers],
    anchors: Tensor,
    strides: Sequence[int],
    form: Form = LIGHT,
) -> Tensor:
    """The loss of a batch, a scalar; each part is a mean over the answering cells.

    Args:
        raw: predictions ``[N, k * (5 + C), H, W]`` of each map.
        found: the answering cells of each map.
        anchors: widths and heights ``[maps, k, 2]``, input pixels.
        strides: of the maps.
        form: the formula of their boxes.
    """
    total = raw[0].new_zeros(())
    count = max(1, sum(len(one.image) for one in found))
    for values, one, sizes, stride in zip(
        map(by_anchor, raw), found, anchors, strides, strict=True
    ):
        presence = torch.zeros_like(values[..., 4])
        if len(one.image):
            place = (one.image, one.anchor, one.row, one.column)
            mine = values[place]
            boxes = corners(mine, one.column, one.row, sizes[one.anchor], stride, form)
            apart = torchvision_ops().generalized_box_iou_loss(boxes, one.box)
            wanted = functional.one_hot(one.label, mine.shape[-1] - BOX_VALUES).to(mine.dtype)
            kinds = functional.binary_cross_entropy_with_logits(
                mine[:, BOX_VALUES:], wanted, reduction="none"
            )
            total = total + (BOX * apart.sum() + CLASS * kinds.sum()) / count
            reached = _iou(boxes.detach(), one.box)
            presence = presence.index_put(place, reached.to(presence.dtype))
        each = functional.binary_cross_entropy_with_logits(
            values[..., 4], presence, reduction="none"
        )
        total = total + PRESENCE * each.sum() / count
    return total


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of boxes and others ``[n, 4]``, pair by pair ``[n]``."""
    low = torch.maximum(boxes[:, :2], others[:, :2])
    high = torch.minimum(boxes[:, 2:], others[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    areas = [(one[:, 2:] - one[:, :2]).prod(1) for one in (boxes, others)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-9)
