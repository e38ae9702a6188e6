"""How far the axes of a speed-up against accuracy panel reach, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from sparsebench.bench.present.plots.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter

LOG_FROM = 2.5
STEPS = (1, 2, 5, 10)  # whose multiples meet 1x, where the line stands
CLOSEST = 0.17  # two ticks, as a share of the axis


def scale_axes(axes: Axes, points: Sequence[Point], margin: float) -> None:
    """Room around points and whole whiskers; a log axis where speed-ups span more than a few.

    Args:
        axes: of the panel.
        points: that it must hold, each with its whole intervals.
        margin: points of accuracy lost that count as no worse: shown with room below.
    """
    from matplotlib.ticker import MaxNLocator

    low = min(1.0, *(point.speedup[0] for point in points))
    high = max(1.0, *(point.speedup[2] for point in points))
    if low > 0 and high / low >= LOG_FROM:
        room = (high / low) ** 0.12
        log_axis(axes, "x", low / room, high * room)
    else:
        room = max(0.12 * (high - low), 0.03)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.xaxis.set_major_formatter(times_formatter())
    bottom = min(-2 * margin, *(point.change[0] for point in points))
    top = max(margin, *(point.change[2] for point in points))
    room = max(0.1 * (top - bottom), 0.15)
    axes.set_ylim(bottom - room, top + room)


def log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """A logarithmic axis of ratios from low to high, with few round ticks."""
    from matplotlib.ticker import NullLocator

    getattr(axes, f"set_{which}scale")("log", base=2)
    axis = getattr(axes, f"{which}axis")
    axis.set_ticks(nice_ticks(low, high))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(times_formatter())
    getattr(axes, f"set_{which}lim")(low, high)


def times_formatter() -> FuncFormatter:
    """Ticks of a ratio, with the sign for times."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:g}\N{MULTIPLICATION SIGN}")


def nice_ticks(low: float, high: float) -> list[float]:
    """Two to seven ticks of a logarithmic axis, with round numbers that do not touch.

    Powers of two, with one and a half times each between them, or every second or fourth; evenly
    spaced numbers where the axis spans too little for those.
    """
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    powers = [2.0**count for count in range(first, last + 1)]
    halves = [1.5 * power for power in powers]
    rarer = [[p for p in powers if math.log2(p) % step == 0] for step in (2, 4, 8)]
    for ticks in (powers, sorted(powers + halves), *rarer):
        inside = [tick for tick in ticks if low <= tick <= high]
        apart = min((b / a for a, b in pairwise(inside)), default=1.0)
        if 3 <= len(inside) <= 7 and math.log(apart) >= CLOSEST * math.log(high / low):
            return inside
    inside = [power for power in powers if low <= power <= high]
    if len(inside) in (2, 3):
        return inside
    from matplotlib.ticker import MaxNLocator

    return [float(t) for t in MaxNLocator(5).tick_values(low, high) if low <= t <= high]
