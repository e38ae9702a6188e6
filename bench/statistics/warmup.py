"""When warm-up is over: the windowed median has stopped moving."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

WINDOW = 5
TOLERANCE = 0.02


def settled(samples: Sequence[float], window: int = WINDOW, tolerance: float = TOLERANCE) -> bool:
    """Whether the last two windows of samples have the same median.

    Medians, so that one interrupted iteration neither ends nor prolongs the warm-up. Asked
    after each warm-up sample, until it says yes or the caller's cap is reached.

    Args:
        samples: seconds, in measured order.
        window: samples in a window; two windows are needed before the answer can be yes.
        tolerance: relative difference of the medians that still counts as the same.
    """
    if len(samples) < 2 * window:
        return False
    earlier = median(samples[-2 * window : -window])
    later = median(samples[-window:])
    return abs(later - earlier) <= tolerance * earlier


def settling_point(
    samples: Sequence[float], window: int = WINDOW, tolerance: float = TOLERANCE
) -> int | None:
    """How many samples `settled` waits for; None where they never settle."""
    for count in range(2 * window, len(samples) + 1):
        if settled(samples[:count], window, tolerance):
            return count
    return None
