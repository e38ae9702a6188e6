"""Points with whiskers both ways, and labels beside them that keep clear of everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.labels import Box, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKER_SIZE = 6.0
Span = tuple[float, float, float]  # low, point, high


@dataclass(frozen=True)
class Mark:
    """One point, as labels see it.

    Args:
        x: low, point, high in data units.
        y: likewise.
        label: text beside it; empty for none.
        colour: of the label, which is darker.
    """

    x: Span
    y: Span
    label: str = ""
    colour: str = style.DENSE


def span(middle: float, ci95: tuple[float, float] | None = None, scale: float = 1.0) -> Span:
    """A value and its interval, whole, as every figure's whiskers show it; none: no whisker."""
    low, high = ci95 or (middle, middle)
    return scale * low, scale * middle, scale * high


def draw_mark(
    axes: Axes,
    x: Span | float,
    y: Span | float,
    colour: str,
    marker: str = "o",
    *,
    hollow: bool = False,
    size: float = 5.0,
    **looks: Any,
) -> None:
    """The marker with its whiskers; hollow ones lie below the others."""
    draw_marks(axes, [x], [y], colour, marker, hollow=hollow, size=size, **looks)


def draw_marks(
    axes: Axes,
    xs: Sequence[Span | float],
    ys: Sequence[Span | float],
    colour: str,
    marker: str = "o",
    *,
    hollow: bool = False,
    size: float = 5.0,
    **looks: Any,
) -> None:
    """Markers of one look, drawn at once: one by one, many would take most of a figure's time."""
    (left, across, right), (below, up, above) = (
        np.array([one if isinstance(one, tuple) else span(one) for one in values]).T
        for values in (xs, ys)
    )
    looks = {
        "markerfacecolor": "white" if hollow else colour,
        "markeredgecolor": colour if hollow else "white",
        "markeredgewidth": 1.0 if hollow else 0.5,
        "zorder": 3 if hollow else 4,
        **looks,
    }
    axes.errorbar(
        across, up,
        xerr=[across - left, right - across] if isinstance(xs[0], tuple) else None,
        yerr=[up - below, above - up] if isinstance(ys[0], tuple) else None,
        color=colour, marker=marker, markersize=size, linestyle="none",
        elinewidth=0.9, capsize=1.8, capthick=0.8, **looks,
    )  # fmt: skip


def label_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write the labels; the layout must be final, because they are placed on what is drawn."""
    from matplotlib.patheffects import withStroke

    figure: Any = axes.figure
    scale = 72.0 / figure.dpi  # display pixels to points
    to_points = axes.transData.transform

    def at(x: float, y: float) -> tuple[float, float]:
        px, py = to_points((x, y))
        return px * scale, py * scale

    obstacles: list[Box] = []
    for mark in marks:
        x, y = at(mark.x[1], mark.y[1])
        (left, _), (right, _) = at(mark.x[0], mark.y[1]), at(mark.x[2], mark.y[1])
        (_, bottom), (_, top) = at(mark.x[1], mark.y[0]), at(mark.x[1], mark.y[2])
        half = MARKER_SIZE / 2 + 1
        obstacles += [
            (x - half, y - half, x + half, y + half),
            (left - 1, y - 2.2, right + 1, y + 2.2),
            (x - 2.2, bottom - 1, x + 2.2, top + 1),
        ]
    named = [mark for mark in marks if mark.label]
    measured = {text: _text_size(figure, text) for text in {mark.label for mark in named}}
    sizes = [measured[mark.label] for mark in named]
    box = axes.get_window_extent()
    frame = (box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)
    centres = [at(mark.x[1], mark.y[1]) for mark in named]
    halo = withStroke(linewidth=1.8, foreground="white")
    for mark, centre, spot in zip(
        named, centres, place(centres, sizes, obstacles, frame), strict=True
    ):
        line = {"arrowstyle": "-", "color": mark.colour, "linewidth": 0.5, "alpha": 0.6}
        axes.annotate(
            mark.label,
            (mark.x[1], mark.y[1]),
            xytext=(spot.x - centre[0], spot.y - centre[1]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=style.SMALL,
            color=style.ink(mark.colour),
            arrowprops={**line, "shrinkA": 1, "shrinkB": 4} if spot.leader else None,
            zorder=5,
            path_effects=[halo],
        )


def _text_size(figure: Any, text: str) -> tuple[float, float]:
    """Width and height in points."""
    from matplotlib.text import Text

    drawn = Text(0, 0, text, fontsize=style.SMALL, figure=figure)
    extent = drawn.get_window_extent(figure.canvas.get_renderer())
    scale = 72.0 / figure.dpi
    return extent.width * scale + 1.5, extent.height * scale + 1.0
