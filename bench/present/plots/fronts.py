"""The Pareto front: points that no other point beats in speed and accuracy at once."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of which no other is at least as good in both coordinates and better in one.

    Args:
        points: (speed-up, accuracy change); more is better in both. Medians: a point whose
            interval reaches over the front may belong to it all the same.

    Returns:
        The front, by rising speed-up and so by falling change; equal points once.
    """
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]
