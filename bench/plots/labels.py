"""Labels beside points that do not collide with points, whiskers or each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, bottom, right, top
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
    found: dict[int, tuple[Box, float]] = {}
    order = sorted(range(len(points)), key=lambda i: -_crowd(points, i))
    for _ in range(ROUNDS):
        before = dict(found)
        for index in order:
            labels = [box for other, (box, _) in found.items() if other != index]
            found[index] = min(
                _candidates(points[index], sizes[index]),
                key=lambda spot: _cost(spot[0], spot[1], obstacles, labels, frame),
            )
        if found == before:
            break
    return [
        Placed((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, leader=distance >= LEADER_FROM)
        for box, distance in (found[index] for index in range(len(points)))
    ]


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> list[tuple[Box, float]]:
    """Boxes whose nearest edge is at each distance from the point, in each direction."""
    width, height = size
    spots = []
    for distance in DISTANCES:
        for angle in ANGLES:
            dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x = point[0] + dx * distance + _sign(dx) * width / 2
            y = point[1] + dy * distance + _sign(dy) * height / 2
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            spots.append((box, distance))
    return spots


def _cost(
    box: Box, distance: float, marks: Sequence[Box], labels: Sequence[Box], frame: Box
) -> float:
    over_marks = sum(_overlap(box, other) for other in marks)
    over_labels = sum(_overlap(box, other) for other in labels)
    outside = _area(box) - _overlap(box, frame)
    return (
        distance
        + OVERLAP_COST * math.sqrt(over_marks)
        + LABEL_COST * math.sqrt(over_labels)
        + OUTSIDE_COST * math.sqrt(outside)
    )


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


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
