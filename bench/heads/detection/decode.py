"""From raw predictions to boxes: outside every engine's graph, and timed by itself.

What a raw value means is the architecture's form (:mod:`sparsebench.models.detection.grids`). The
score is presence times class.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from sparsebench.models.architectures.without_compiler import torchvision_ops
from sparsebench.models.detection.grids import BOX_VALUES, FORMS, Form
from sparsebench.models.detection.head import ANCHORS

LIGHT = FORMS["light"]
LEAST_SCORE = 0.01
BEFORE_NMS = 1000
NMS_IOU = 0.5
MOST = 100
"""Boxes of an image that are kept: COCO's limit."""
TIMED = 7
"""Rounds of :func:`decode_seconds`."""
_LARGEST = 4.0  # of the exponent: fifty times the anchor


@dataclass(frozen=True)
class Found:
    """The boxes found on one image, the surest first.

    Attributes:
        boxes: corners x1, y1, x2, y2 ``[n, 4]``, float32.
        scores: ``[n]``, 0-1.
        labels: class numbers ``[n]``, int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def by_anchor(raw: Tensor, anchors: int = ANCHORS) -> Tensor:
    """A map's raw predictions ``[N, k * (5 + C), H, W]`` as ``[N, k, H, W, 5 + C]``."""
    count, _, height, width = raw.shape
    return raw.view(count, anchors, -1, height, width).permute(0, 1, 3, 4, 2)


def corners(
    raw: Tensor, column: Tensor, row: Tensor, anchor: Tensor, stride: int, form: Form = LIGHT
) -> Tensor:
    """Corners x1, y1, x2, y2 ``[..., 4]``, input pixels, of raw values ``[..., 4]`` and more.

    Args:
        raw: x, y, width and height first.
        column: of the cell.
        row: of the cell.
        anchor: width and height, input pixels.
        stride: of the map.
        form: the formula.
    """
    cell, over = torch.stack([column, row], -1).to(raw.dtype), form.over
    middle = (cell - over + (1 + 2 * over) * torch.sigmoid(raw[..., :2])) * stride
    sides = raw[..., 2:4]
    if form.exponential:
        half = anchor * torch.exp(sides.clamp(max=_LARGEST)) / 2
    else:
        half = anchor * (2 * torch.sigmoid(sides)) ** 2 / 2
    return torch.cat([middle - half, middle + half], -1)


def decode(
    raw: Sequence[Tensor], anchors: Tensor, strides: Sequence[int], form: Form = LIGHT
) -> list[Found]:
    """Boxes of each image, after non-maximum suppression within each class.

    Args:
        raw: predictions ``[N, k * (5 + C), H, W]`` of each map.
        anchors: widths and heights ``[maps, k, 2]``, input pixels.
        strides: of the maps.
        form: the formula of their boxes.

    Returns:
        At most :data:`MOST` boxes for each image, in input pixels, cut at the input's edges.
    """
    boxes, scores = [], []
    for one, sizes, stride in zip(raw, anchors, strides, strict=True):
        values = by_anchor(one, len(sizes))
        height, width = values.shape[2:4]
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        found = corners(values, column, row, sizes[:, None, None], stride, form)
        boxes.append(found.clamp(0, stride * width).flatten(1, 3))
        sure = torch.sigmoid(values[..., 4:5]) * torch.sigmoid(values[..., BOX_VALUES:])
        scores.append(sure.flatten(1, 3))
    joined = zip(torch.cat(boxes, 1), torch.cat(scores, 1), strict=True)
    return [keep_best(box, score) for box, score in joined]


def keep_best(boxes: Tensor, scores: Tensor) -> Found:
    """The boxes ``[n, 4]`` of one image that stay, by their scores ``[n, C]``."""
    place, label = torch.nonzero(scores > LEAST_SCORE, as_tuple=True)
    sure = scores[place, label]
    best = torch.argsort(sure, descending=True, stable=True)[:BEFORE_NMS]
    place, label, sure = place[best], label[best], sure[best]
    kept = torchvision_ops().batched_nms(boxes[place], sure, label, NMS_IOU)[:MOST]
    return Found(boxes[place[kept]], sure[kept], label[kept])


def decode_seconds(decoded: Callable[[], Sequence[Found]]) -> float:
    """Seconds an image that decoding and non-maximum suppression take, one image after the other.

    How long depends on how many boxes a trained network is sure of, so initial weights will not do.

    Args:
        decoded: decodes a batch of predictions of a trained network.

    Returns:
        The median of :data:`TIMED` rounds, after one that does not count.
    """
    images, spent = len(decoded()), []
    for _ in range(TIMED):
        start = time.perf_counter()
        decoded()
        spent.append((time.perf_counter() - start) / images)
    return median(spent)
