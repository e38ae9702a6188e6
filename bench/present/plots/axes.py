"""How far the axes of a speed-up against accuracy panel reach, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.present.plots.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter

LOG_FROM = 2.5
FARTHEST = 4.0


def scale_axes(axes: Axes, points: Sequence[Point]) -> None:
    """Room around points and whiskers; a log axis where speed-ups span more than a few.

    A whisker far longer than the distance between the points runs out of the frame instead of
    squeezing all points into one place.
    """
    from matplotlib.ticker import MaxNLocator, NullLocator

    middles = [1.0, *(point.speedup[1] for point in points)]
    low = max(min(1.0, *(point.speedup[0] for point in points)), min(middles) / FARTHEST)
    high = min(max(1.0, *(point.speedup[2] for point in points)), max(middles) * FARTHEST)
    if high / low >= LOG_FROM:
        room = (high / low) ** 0.12
        axes.set_xscale("log", base=2)
        axes.set_xticks(nice_ticks(low / room, high * room))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low / room, high * room)
    else:
        room = max(0.12 * (high - low), 0.03)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(times_formatter())
    changes = [0.0, *(point.change[1] for point in points)]
    far = FARTHEST * max(max(changes) - min(changes), 1.0)
    bottom = max(min(0.0, *(point.change[0] for point in points)), min(changes) - far)
    top = min(max(0.0, *(point.change[2] for point in points)), max(changes) + far)
    room = max(0.14 * (top - bottom), 0.15)
    axes.set_ylim(bottom - room, top + room)


def times_formatter() -> FuncFormatter:
    """Ticks of a ratio, with the sign for times."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:g}\N{MULTIPLICATION SIGN}")


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to seven ticks of a logarithmic axis, with round numbers.

    Powers of two, with one and a half times each between them, or every second or fourth; evenly
    spaced numbers where the axis spans too little for those.
    """
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    powers = [2.0**count for count in range(first, last + 1)]
    halves = [1.5 * power for power in powers]
    rarer = [[p for p in powers if math.log2(p) % step == 0] for step in (2, 4)]
    for ticks in (powers, sorted(powers + halves), *rarer):
        inside = [tick for tick in ticks if low <= tick <= high]
        if 3 <= len(inside) <= 7:
            return inside
    from matplotlib.ticker import MaxNLocator

    return [float(t) for t in MaxNLocator(5).tick_values(low, high) if low <= t <= high]
