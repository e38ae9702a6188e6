"""Speed-up against accuracy change: a panel for each workload and engine, intervals both ways.

Methods by colour, families by marker, sparsity as a label. The best dense engine stands at
(1, 0) in every panel; the Pareto front is that of all engines together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.axes import scale_axes
from sparsebench.bench.present.plots.canvas import finish, new_figure, save_figure, styled
from sparsebench.bench.present.plots.data import ALL, RunData, Selection
from sparsebench.bench.present.plots.fronts import pareto_front
from sparsebench.bench.present.plots.marks import MARKER_SIZE, Mark, draw_mark, label_marks
from sparsebench.bench.present.plots.points import Against, Point, PointSet, points_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS = {
    "total": "speed-up over the best dense engine",
    "speedup": "speed-up over dense, same engine",
    "change": "accuracy change, points",
}
NO_WORSE_MARGIN = 0.5
"""Points below dense up to which an accuracy counts as no worse, unless another is stated."""
CROWDED = 30
ROOMY = 12
PANELS = {1: (5.6, 4.2), 2: style.PANEL_INCHES, 3: (3.4, 3.1)}
DASHED = (0, (4, 2))
INTERVALS = "Whiskers: 95% intervals."


def from_runs(
    runs: Sequence[RunData],
    selection: Selection = ALL,
    *,
    against: Against = "total",
    margin: float = NO_WORSE_MARGIN,
) -> Figure:
    """The figure of one or several runs; their points share the panels."""
    found = PointSet()
    for run in runs:
        found += points_of(run.records, run.comparisons, run.trials, against, selection)
    return draw(found, against, margin)


def save(found: PointSet, folder: Path, stem: str, against: Against = "total") -> list[Path]:
    """Draw the figure and write it as PNG and SVG.

    Raises:
        SparsebenchError: the folder cannot be written.
    """
    return save_figure(draw(found, against), folder, stem)


@styled
def draw(found: PointSet, against: Against = "total", margin: float = NO_WORSE_MARGIN) -> Figure:
    """The figure of points; one that says why where there are none.

    Args:
        found: what to show.
        against: what its speed-ups are against.
        margin: points below dense up to which an accuracy is no worse.
    """
    groups = _groups(found.points)
    if not groups:
        figure = new_figure(*style.EMPTY_INCHES)
        _nothing(figure, found.left_out())
        return figure
    columns, places = _places(groups)
    rows = 1 + max(row for row, _ in places.values())
    width, height = PANELS[columns]
    figure = new_figure(width * columns, height * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = style.method_colours(p.method for p in found.points if not p.is_dense)
    markers = style.family_markers(p.family for p in found.points if not p.is_dense)
    for (title, engine), (row, column) in places.items():
        axes, group = grid[row][column], groups[title]
        _panel(axes, group, [p for p in group if p.engine == engine], colours, markers, margin)
        axes.set_title(f"{title}\n{engine}" if columns == 3 else f"{title}, {engine}",
                       fontweight="bold")  # fmt: skip
        axes.set_xlabel(AXIS[against])
        axes.set_ylabel(AXIS["change"] if column == 0 or columns < 3 else "")
    for row in range(rows):
        for column in range(columns):
            if (row, column) not in places.values():
                grid[row][column].set_axis_off()
    note = found.left_out()
    finish(
        figure,
        _legend(found.points, colours, markers, margin, against),
        f"Not shown: {note}. {INTERVALS}" if note else INTERVALS,
    )
    for (title, engine), (row, column) in places.items():
        _labels(grid[row][column], [p for p in groups[title] if p.engine == engine], colours)
    return figure


def _groups(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Title -> points: a workload and task; split by architecture where a panel is crowded."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.workload, point.task), []).append(point)
    titled: dict[str, list[Point]] = {}
    for (workload, task), inside in found.items():
        sparse = [point.engine for point in inside if not point.is_dense]
        crowded = max(map(sparse.count, sparse), default=0) > CROWDED
        for point in inside:
            title = f"{workload} on {task}" + (f", {point.arch}" if crowded else "")
            titled.setdefault(title, []).append(point)
    return titled


def _places(
    groups: Mapping[str, Sequence[Point]],
) -> tuple[int, dict[tuple[str, str], tuple[int, int]]]:
    """How many columns, and (title, engine) -> (row, column): a row of engines a workload."""
    order = style.engine_markers({p.engine for points in groups.values() for p in points})
    engines = {
        title: sorted({point.engine for point in points}, key=list(order).index)
        for title, points in groups.items()
    }
    most = max(len(names) for names in engines.values())
    if most == 1:
        columns = min(2, len(groups))
        spots = [(title, names[0]) for title, names in engines.items()]
        return columns, {spot: divmod(number, columns) for number, spot in enumerate(spots)}
    sparse = [p.engine for points in groups.values() for p in points if not p.is_dense]
    columns = min(3 if max(map(sparse.count, sparse), default=0) <= ROOMY else 2, most)
    places: dict[tuple[str, str], tuple[int, int]] = {}
    row = 0
    for title, names in engines.items():
        for number, engine in enumerate(names):
            places[title, engine] = (row + number // columns, number % columns)
        row += math.ceil(len(names) / columns)
    return columns, places


def _panel(
    axes: Axes,
    group: Sequence[Point],
    points: Sequence[Point],
    colours: Mapping[str, str],
    markers: Mapping[str, str],
    margin: float,
) -> None:
    """One engine's points, in the frame of all engines of the workload."""
    axes.axhline(0, color=style.GUIDE, linewidth=0.8, zorder=0.5)
    axes.axvline(1, color=style.GUIDE, linewidth=0.8, zorder=0.5)
    scale_axes(axes, group)
    (left, _), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    axes.axhspan(-margin, max(top, 0.0), color=style.NO_WORSE, linewidth=0, zorder=0)
    front = pareto_front([(1.0, 0.0), *((p.speedup[1], p.change[1]) for p in group)])
    steps = [(left, front[0][1]), *front, (front[-1][0], bottom)]
    axes.plot(
        [x for x, _ in steps], [y for _, y in steps], drawstyle="steps-pre", color=style.QUIET,
        linewidth=0.9, linestyle=DASHED, zorder=1,
    )  # fmt: skip
    axes.set_ylim(bottom, top)
    axes.plot([1.0], [0.0], marker="+", markersize=9, markeredgewidth=1.3, linestyle="",
              color=style.DENSE, zorder=4.5)  # fmt: skip
    for point in points:
        mark = Mark(point.speedup, point.change, "", colours.get(point.method, style.DENSE))
        shape = "o" if point.is_dense else markers[point.family]
        draw_mark(axes, mark, shape, hollow=point.is_dense)


def _labels(axes: Axes, points: Sequence[Point], colours: Mapping[str, str]) -> None:
    """Each sparse point's sparsity, with the architecture where there are several."""
    several = len({point.arch for point in points}) > 1
    marks = [
        Mark(
            point.speedup,
            point.change,
            "" if point.is_dense else _label(point, several),
            style.DENSE if point.is_dense else colours[point.method],
        )
        for point in points
    ]
    label_marks(axes, [Mark((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), *marks])


def _label(point: Point, several: bool) -> str:
    sparsity = f"{round(point.sparsity * 100, 1):g}%"
    return f"{point.arch} {sparsity}" if several else sparsity


def _legend(
    points: Sequence[Point],
    colours: Mapping[str, str],
    markers: Mapping[str, str],
    margin: float,
    against: Against,
) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    families = {point.method: point.family for point in points}
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=markers[families[method]], markersize=MARKER_SIZE,
               markeredgecolor="white", markeredgewidth=0.6, linewidth=1.6, label=method)
        for method, colour in colours.items()
    ]  # fmt: skip
    handles += [
        Line2D([], [], linestyle="", marker=marker, color=style.QUIET, label=family)
        for family, marker in markers.items()
    ]
    one = "best dense engine" if against == "total" else "dense"
    handles += [
        Line2D([], [], linestyle="", marker="+", markersize=9, color=style.DENSE, label=one),
        Line2D([], [], linestyle=DASHED, linewidth=0.9, color=style.QUIET, label="Pareto front"),
        Patch(color=style.NO_WORSE, label=f"no worse: at most {margin:g} points lost"),
    ]  # fmt: skip
    if against == "total":
        hollow = Line2D(
            [], [], linestyle="", marker="o", markerfacecolor="white", color=style.DENSE,
            label="hollow: dense",
        )  # fmt: skip
        handles.insert(-2, hollow)
    return handles


def _nothing(figure: Figure, note: str) -> None:
    """What there would have been, a reason a line."""
    reasons = note.split(", ") if note else ["the run has no sparse backbone"]
    text = "nothing to plot:\n" + "\n".join(reasons)
    figure.text(0.5, 0.5, text, ha="center", va="center", color="#333333", linespacing=1.6)
