"""Labels beside points that do not collide with points, whiskers or each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]  # left, bottom, right, top
Boxes = NDArray[np.float64]
DISTANCES = (5.0, 9.0, 14.0, 20.0, 28.0, 38.0, 50.0)
ANGLES = (30, 150, -30, -150, 90, -90, 0, 180, 60, 120, -60, -120)
OVERLAP_COST = 10.0
OUTSIDE_COST = 30.0
LABEL_COST = 100.0  # two labels on each other are both lost
ROUNDS = 4
LEADER_FROM = 14.0


@dataclass(frozen=True)
class Placed:
    """Where a label goes: its centre, and whether a line should lead to the point."""

    x: float
    y: float
    leader: bool


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
) -> list[Placed]:
    """Put each label at the nearest free place around its point, crowded points first.

    Then each once more, now that the others are known, until nothing moves.

    Args:
        points: centres of the points, in one length unit (display points).
        sizes: width and height of each label, same unit and order.
        obstacles: boxes to keep clear of: markers and whiskers.
        frame: the axes.

    Returns:
        One place for each label, in the order of the points.
    """
    if not points:
        return []
    spots = [_candidates(point, size) for point, size in zip(points, sizes, strict=True)]
    # Everything but the other labels costs the same in each round.
    fixed = [_fixed_cost(boxes, obstacles, frame) for boxes in spots]
    taken: dict[int, int] = {}
    order = sorted(range(len(points)), key=lambda i: -_crowd(points, i))
    for _ in range(ROUNDS):
        before = dict(taken)
        for index in order:
            others = [spots[other][spot] for other, spot in taken.items() if other != index]
            cost = fixed[index] + LABEL_COST * np.sqrt(_overlaps(spots[index], others))
            taken[index] = int(np.argmin(cost))
        if taken == before:
            break
    return [_placed(spots[index][taken[index]], taken[index]) for index in range(len(points))]


def _placed(box: Boxes, spot: int) -> Placed:
    return Placed(
        float(box[0] + box[2]) / 2,
        float(box[1] + box[3]) / 2,
        leader=DISTANCES[spot // len(ANGLES)] >= LEADER_FROM,
    )


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> Boxes:
    """Boxes whose nearest edge is at each distance from the point, in each direction.

    Returns:
        float64 [distances * angles, 4], the nearest first.
    """
    width, height = size
    spots = []
    for distance in DISTANCES:
        for angle in ANGLES:
            dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x = point[0] + dx * distance + _sign(dx) * width / 2
            y = point[1] + dy * distance + _sign(dy) * height / 2
            spots.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(spots)


def _fixed_cost(boxes: Boxes, marks: Sequence[Box], frame: Box) -> Boxes:
    """Of each box: its distance, what it covers of the marks, and what lies outside; [boxes]."""
    outside = _areas(boxes) - _overlaps(boxes, [frame])
    return (
        np.repeat(DISTANCES, len(ANGLES))
        + OVERLAP_COST * np.sqrt(_overlaps(boxes, marks))
        + OUTSIDE_COST * np.sqrt(np.maximum(outside, 0.0))
    )


def _overlaps(boxes: Boxes, others: Sequence[Box] | Sequence[Boxes]) -> Boxes:
    """The area that each box shares with all others together; [boxes]."""
    if not len(others):
        return np.zeros(len(boxes))
    left, right = boxes[:, None, :], np.asarray(others, dtype=np.float64)[None, :, :]
    width = np.minimum(left[..., 2], right[..., 2]) - np.maximum(left[..., 0], right[..., 0])
    height = np.minimum(left[..., 3], right[..., 3]) - np.maximum(left[..., 1], right[..., 1])
    shared: Boxes = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    return np.asarray(shared.sum(axis=1))


def _areas(boxes: Boxes) -> Boxes:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _crowd(points: Sequence[tuple[float, float]], index: int) -> float:
    """How close the others are."""
    x, y = points[index]
    return sum(
        1 / (1 + math.hypot(x - other[0], y - other[1]))
        for place, other in enumerate(points)
        if place != index
    )


def _sign(value: float) -> float:
    return 0.0 if abs(value) < 1e-9 else math.copysign(1.0, value)
