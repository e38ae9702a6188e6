"""Average precision of detections, with a weight for each image, so that images can be redrawn.

As COCO's evaluation has it: within an image and a class the surest detection takes the truth that
it overlaps most, if that is at least a threshold; precision is made falling, read at 101 recalls
from 0 to 1, and averaged; classes without a truth do not count. Detections on crowds count neither
as right nor as wrong. The point that a record shows is torchmetrics' own; a test holds the two
together. With weights the sums over detections are weighted sums: a weight of 2 is the same as
having the image twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
RECALLS = np.linspace(0.0, 1.0, 101)
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """The detections of one seed on all images, each judged at every threshold.

    Attributes:
        image: position of its image ``[n]``, int64.
        label: class number ``[n]``, int64.
        score: ``[n]``, float32.
        right: ``[n, thresholds]``, bool: it has taken a truth.
        ignored: ``[n, thresholds]``, bool: it lies on a crowd.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


def judge(
    boxes: Floats,
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    truths: Floats,
    truth_labels: NDArray[np.int64],
    crowd: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections on one image are right, and which are ignored ``[n, thresholds]``.

    Args:
        boxes: detections, corners ``[n, 4]``.
        scores: ``[n]``.
        labels: ``[n]``.
        truths: corners ``[m, 4]``.
        truth_labels: ``[m]``.
        crowd: ``[m]``.
    """
    right = np.zeros((len(boxes), len(THRESHOLDS)), bool)
    ignored = np.zeros_like(right)
    order = np.argsort(-scores, kind="stable")
    overlaps = _overlaps(boxes, truths, crowd)
    overlaps[labels[:, None] != truth_labels[None]] = -1.0
    for t, threshold in enumerate(THRESHOLDS):
        taken = np.zeros(len(truths), bool)
        for d in order if len(truths) else ():
            free = np.where(taken | crowd, -1.0, overlaps[d])
            best = int(free.argmax())
            if free[best] >= threshold:
                taken[best] = right[d, t] = True
            elif bool((overlaps[d][crowd] >= threshold).any()):
                ignored[d, t] = True
    return right, ignored


def _overlaps(boxes: Floats, truths: Floats, crowd: NDArray[np.bool_]) -> Floats:
    """IoU ``[n, m]``; with a crowd the share of the detection that lies in it, as COCO has it."""
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    own, other = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, truths))
    either = np.where(crowd[None], own[:, None], own[:, None] + other[None] - both)
    return np.asarray(both / np.maximum(either, 1e-12))


def mean_average_precision(
    judged: Judged, truths: NDArray[np.int64], thresholds: Sequence[int], weights: Floats
) -> Floats:
    """Mean average precision for each row of weights, fractions 0-1 ``[draws]``.

    Args:
        judged: detections of one seed.
        truths: countable boxes of each class on each image ``[images, classes]``.
        thresholds: positions in :data:`THRESHOLDS`, over which the mean goes too.
        weights: of the images ``[draws, images]``, 0 or more.

    Returns:
        0 where no class has a truth.
    """
    totals = weights @ truths  # [draws, classes]
    summed, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for label in range(truths.shape[1]):
        mine = np.flatnonzero(judged.label == label)
        mine = mine[np.argsort(-judged.score[mine], kind="stable")]
        known = totals[:, label] > 0
        counted += known
        if len(mine):
            drawn = weights[:, judged.image[mine]]
            for t in thresholds:
                right, ignored = judged.right[mine, t], judged.ignored[mine, t]
                found = _average(drawn * right, drawn * ~(right | ignored), totals[:, label])
                summed += np.where(known, found, 0.0) / len(thresholds)
    return np.asarray(summed / np.maximum(counted, 1))


def _average(right: Floats, wrong: Floats, totals: Floats) -> Floats:
    """Average precision ``[draws]`` from weights of right and wrong detections, surest first."""
    hits, misses = right.cumsum(1), wrong.cumsum(1)
    recall = hits / np.maximum(totals, 1e-12)[:, None]
    precision = hits / np.maximum(hits + misses, 1e-12)
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.empty(len(right))
    for row, (rising, values) in enumerate(zip(recall, falling, strict=True)):
        place = np.searchsorted(rising, RECALLS, side="left")
        padded = np.append(values, 0.0)
        found[row] = padded[place].mean()
    return found
