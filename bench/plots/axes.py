"""How far the axes of a speed-up against accuracy panel reach, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.plots.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_FROM = 2.5
FARTHEST = 4.0


def scale_axes(axes: Axes, points: Sequence[Point]) -> None:
    """Room around points and whiskers; powers of two where speed-ups span more than a few.

    A whisker far longer than the distance between the points runs out of the frame instead of
    squeezing all points into one place.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    middles = [1.0, *(point.speedup[1] for point in points)]
    low = max(min(1.0, *(point.speedup[0] for point in points)), min(middles) / FARTHEST)
    high = min(max(1.0, *(point.speedup[2] for point in points)), max(middles) * FARTHEST)
    if high / low >= LOG_FROM:
        room = (high / low) ** 0.12
        axes.set_xscale("log", base=2)
        axes.set_xticks(_powers(low / room, high * room))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low / room, high * room)
    else:
        room = max(0.12 * (high - low), 0.03)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(6))
    digits = ".2g" if axes.get_xscale() == "log" else "g"
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:{digits}}\N{MULTIPLICATION SIGN}")
    )
    changes = [0.0, *(point.change[1] for point in points)]
    far = FARTHEST * max(max(changes) - min(changes), 1.0)
    bottom = max(min(0.0, *(point.change[0] for point in points)), min(changes) - far)
    top = min(max(0.0, *(point.change[2] for point in points)), max(changes) + far)
    room = max(0.14 * (top - bottom), 0.15)
    axes.set_ylim(bottom - room, top + room)


def _powers(low: float, high: float) -> list[float]:
    """Three to seven ticks: powers of two, of its root, of four, ..."""
    ticks: list[float] = []
    for step in (1.0, 0.5) if math.log2(high / low) < 3 else (1.0, 2.0, 4.0):
        first, last = math.ceil(math.log2(low) / step), math.floor(math.log2(high) / step)
        ticks = [2.0 ** (step * count) for count in range(first, last + 1)]
        if 3 <= len(ticks) <= 7:
            break
    return ticks
