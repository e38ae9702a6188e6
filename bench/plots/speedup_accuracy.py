"""Speed-up against accuracy change: one panel a workload, intervals in both directions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.plots import style
from bench.plots.axes import scale_axes
from bench.plots.labels import Box, place
from bench.plots.points import Against, Point, PointSet
from models.errors import SparsebenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS = {
    "total": "speed-up over the best dense engine (95% interval)",
    "speedup": "speed-up over dense on the same engine (95% interval)",
    "change": "accuracy change, points (95% interval)",
}
MARKER_SIZE = 6.0
COLUMNS = 2
CROWDED = 24
NOTE_INCHES = 0.15  # a line of the footnote


def save(found: PointSet, folder: Path, stem: str, against: Against = "total") -> list[Path]:
    """Draw the figure and write it as PNG (200 dpi) and SVG.

    Raises:
        SparsebenchError: the folder cannot be written.
    """
    import matplotlib as mpl

    settings: Any = style.RC
    with mpl.rc_context(settings):
        figure = draw(found, against)
        written = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for suffix, options in (
                ("png", {"dpi": style.PNG_DPI}),
                ("svg", {"metadata": {"Date": None}}),
            ):
                path = folder / f"{stem}.{suffix}"
                figure.savefig(path, format=suffix, **options)
                written.append(path)
        except OSError as error:
            raise SparsebenchError(
                f"The plot cannot be written to {folder}: {error.strerror or error}.",
                "Choose another folder.",
            ) from error
    return written


def draw(found: PointSet, against: Against = "total") -> Figure:
    """The figure, on a canvas of its own: pyplot and its global state stay untouched."""
    import matplotlib as mpl

    settings: Any = style.RC
    with mpl.rc_context(settings):
        return _figure(found, against)


def _figure(found: PointSet, against: Against) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(found.points)
    if not panels:
        figure = Figure(figsize=style.EMPTY_INCHES)
        FigureCanvasAgg(figure)
        _nothing(figure, found.left_out())
        return figure
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = style.PANEL_INCHES
    colours = style.method_colours(p.method for p in found.points if not p.is_dense)
    markers = style.engine_markers(p.engine for p in found.points)
    per_row = 4 * columns
    note = _wrapped(found.left_out(), width * columns)
    note_height = NOTE_INCHES * len(note) + (0.08 if note else 0.0)
    entries = len(colours) + len(markers) + 1
    below = 0.22 * math.ceil(entries / per_row) + 0.12 + note_height
    total = height * rows + below
    figure = Figure(figsize=(width * columns, total), layout="constrained")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, below / total, 1, 1 - below / total), w_pad=0.08, h_pad=0.06)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (title, points) in zip(grid.flat, panels.items(), strict=False):
        _points(axes, points, colours, markers)
        scale_axes(axes, points)
        axes.set_title(title, fontweight="bold")
        axes.set_xlabel(AXIS[against])
        axes.set_ylabel(AXIS["change"])
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    _legend(figure, colours, markers, per_row, note_height / total)
    figure.text(
        0.5, 0.5 * note_height / total, "\n".join(note), fontsize=style.SMALL, color="#555555",
        ha="center", va="center",
    )  # fmt: skip
    figure.draw_without_rendering()  # labels are placed on the final layout
    for axes, points in zip(grid.flat, panels.values(), strict=False):
        _labels(axes, points, colours)
    return figure


def _wrapped(note: str, width: float) -> list[str]:
    """The footnote in lines that fit a figure of so many inches."""
    return textwrap.wrap(f"Not shown: {note}.", int(width / 0.065)) if note else []


def _panels(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Title -> points: one panel a workload and task; a crowded one is split by architecture."""
    panels: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        panels.setdefault((point.workload, point.task), []).append(point)
    titled: dict[str, list[Point]] = {}
    for (workload, task), inside in panels.items():
        crowded = sum(not point.is_dense for point in inside) > CROWDED
        for point in inside:
            title = f"{workload} on {task}" + (f", {point.arch}" if crowded else "")
            titled.setdefault(title, []).append(point)
    return titled


def _points(
    axes: Axes, points: Sequence[Point], colours: dict[str, str], markers: dict[str, str]
) -> None:
    axes.axhline(0, color=style.GUIDE, linewidth=0.8, zorder=0)
    axes.axvline(1, color=style.GUIDE, linewidth=0.8, zorder=0)
    for point in points:
        colour = style.DENSE if point.is_dense else colours[point.method]
        low, middle, high = point.speedup
        below, change, above = point.change
        axes.errorbar(
            middle,
            change,
            xerr=[[middle - low], [high - middle]],
            yerr=[[change - below], [above - change]],
            color=colour,
            marker=markers[point.engine],
            markersize=MARKER_SIZE,
            markerfacecolor="white" if point.is_dense else colour,
            markeredgecolor=colour if point.is_dense else "white",
            markeredgewidth=1.1 if point.is_dense else 0.6,
            elinewidth=1.1,
            capsize=2.2,
            capthick=1.0,
            zorder=3 if point.is_dense else 4,
        )


def _labels(axes: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    """Each backbone's sparsity, once, beside its fastest point; its other engines' points are of
    the same colour and, up to noise, at the same height. With the architecture where there are
    several."""
    fastest: dict[tuple[str, str, float], Point] = {}
    for point in sorted(points, key=lambda point: point.speedup[1]):
        if not point.is_dense:
            fastest[point.arch, point.method, point.sparsity] = point
    sparse = list(fastest.values())
    several = len({point.arch for point in points}) > 1
    figure: Any = axes.figure
    scale = 72.0 / figure.dpi  # display pixels to points
    to_points = axes.transData.transform

    def at(x: float, y: float) -> tuple[float, float]:
        px, py = to_points((x, y))
        return px * scale, py * scale

    obstacles: list[Box] = []
    for point in points:
        x, y = at(point.speedup[1], point.change[1])
        (left, _), (right, _) = at(point.speedup[0], 0), at(point.speedup[2], 0)
        (_, bottom), (_, top) = at(1, point.change[0]), at(1, point.change[2])
        half = MARKER_SIZE / 2 + 1
        obstacles += [
            (x - half, y - half, x + half, y + half),
            (left - 1, y - 2.2, right + 1, y + 2.2),
            (x - 2.2, bottom - 1, x + 2.2, top + 1),
        ]
    texts = [_label(point, several) for point in sparse]
    sizes = [_text_size(figure, text) for text in texts]
    box = axes.get_window_extent()
    frame = (box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)
    centres = [at(point.speedup[1], point.change[1]) for point in sparse]
    for point, text, centre, spot in zip(
        sparse, texts, centres, place(centres, sizes, obstacles, frame), strict=True
    ):
        line = {"arrowstyle": "-", "color": colours[point.method], "linewidth": 0.5, "alpha": 0.6}
        axes.annotate(
            text,
            (point.speedup[1], point.change[1]),
            xytext=(spot.x - centre[0], spot.y - centre[1]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=style.SMALL,
            color=colours[point.method],
            arrowprops={**line, "shrinkA": 1, "shrinkB": 4} if spot.leader else None,
            zorder=5,
        )


def _label(point: Point, several: bool) -> str:
    sparsity = f"{point.sparsity * 100:g}%"
    return f"{point.arch} {sparsity}" if several else sparsity


def _text_size(figure: Any, text: str) -> tuple[float, float]:
    """Width and height in points."""
    from matplotlib.text import Text

    drawn = Text(0, 0, text, fontsize=style.SMALL, figure=figure)
    extent = drawn.get_window_extent(figure.canvas.get_renderer())
    scale = 72.0 / figure.dpi
    return extent.width * scale + 1.5, extent.height * scale + 1.0


def _legend(
    figure: Figure, colours: dict[str, str], markers: dict[str, str], per_row: int, bottom: float
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linewidth=4, solid_capstyle="butt", label=method)
        for method, colour in colours.items()
    ]
    handles += [
        Line2D([], [], linestyle="", marker=marker, color="#555555", label=engine)
        for engine, marker in markers.items()
    ]
    handles.append(
        Line2D(
            [], [], linestyle="", marker="o", markerfacecolor="white", color=style.DENSE,
            label="hollow: dense",
        )
    )  # fmt: skip
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, bottom),
        ncols=min(len(handles), per_row),
        handletextpad=0.5,
        columnspacing=1.5,
        borderaxespad=0.2,
    )


def _nothing(figure: Figure, note: str) -> None:
    """What there would have been, a reason a line."""
    reasons = note.split(", ") if note else ["the run has no sparse backbone"]
    text = "nothing to plot:\n" + "\n".join(reasons)
    figure.text(0.5, 0.5, text, ha="center", va="center", color="#333333", linespacing=1.6)
