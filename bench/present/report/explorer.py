"""The interactive plot: speed-up against accuracy change, one Bokeh figure a workload.

Bokeh, because its runtime is one script of 1.3 MB that works embedded and offline (plotly's
Python package carries only the bundle of 4.5 MB). Names from files never go where Bokeh reads
TeX (titles, axes, legends), for which it would fetch MathJax: only into the hover, which it
escapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.machine.energy import NOT_READABLE
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.report.shown_cells import Cell
from sparsebench.bench.present.table import DASH
from sparsebench.bench.present.tables.main import ACCURACY, fields
from sparsebench.bench.present.tables.resources import disk_text, energy_text, memory_text
from sparsebench.bench.present.tables.wording import BEST_ENGINE, CHANGE, SAME_ENGINE
from sparsebench.bench.tasks.kinds import word_of, worded

MARKERS = dict(
    zip(
        style.MARKERS,
        ("circle", "square", "triangle", "diamond", "inverted_triangle", "plus", "x",
         "star", "hex", "circle_dot", "square_dot", "triangle_dot"),
        strict=True,
    )
)  # fmt: skip
SIGNS = {
    "circle": "●", "square": "■", "triangle": "▲", "diamond": "◆", "inverted_triangle": "▼",
    "plus": "✚", "x": "✖", "star": "★", "hex": "⬢", "circle_dot": "◉", "square_dot": "▣",
    "triangle_dot": "◬",
}  # fmt: skip
HEIGHT = 400
WIDEST = 4.0  # an axis is logarithmic beyond this factor
REACH = 1.5
HOVER = (
    (BEST_ENGINE, "total"),
    (SAME_ENGINE, "speedup"),
    (CHANGE, "change_text"),
    (ACCURACY, "accuracy"),
    ("speed", "speed"),
    ("peak memory, MB", "memory"),
    ("on disk", "disk"),
    ("energy, J/image", "energy"),
    ("task", "task"),
    ("run", "run"),
)


def _tooltip(data: Mapping[str, Sequence[Any]]) -> str:
    """The hover's HTML; Bokeh escapes the columns that it puts in (`{safe}` would not)."""
    lines = "".join(
        f'<tr><td style="color: #4a525a; padding-right: 0.8em">{label}</td><td>@{column}</td></tr>'
        for label, column in HOVER
        if not {*data[column]} <= {DASH, NOT_READABLE}  # nobody knows
    )
    return (
        '<div class="tip" style="font: 13px/1.4 system-ui, sans-serif; color: #1c2127; '
        'max-width: 24rem; overflow-wrap: anywhere"><b>@name</b>'
        f"<table>{lines}</table></div>"
    )


@dataclass(frozen=True)
class Explorer:
    """The plot of one workload.

    Args:
        workload: of all points.
        item: what BokehJS embeds, JSON.
        points: how many there are.
        left_out: cells of this workload that have no point, and why.
    """

    workload: str
    item: dict[str, Any]
    points: int
    left_out: str


@dataclass(frozen=True)
class Key:
    """One entry of the legend, which is HTML."""

    name: str
    colour: str
    sign: str


def explorers(cells: Sequence[Cell], margin: float) -> list[Explorer]:
    """One plot a workload that has a point: trained, with both intervals, dense ones too."""
    found: list[Explorer] = []
    for workload in dict.fromkeys(cell.record.workload for cell in cells):
        mine = [cell for cell in cells if cell.record.workload == workload]
        points = [cell for cell in mine if _drawable(cell)]
        if any(not cell.is_dense for cell in points):
            item = _figure(points, cells, margin, len(found))
            found.append(Explorer(workload, item, len(points), _left_out(mine)))
    return found


def legend(cells: Sequence[Cell]) -> tuple[list[Key], list[Key]]:
    """Methods by colour and engines by sign, of those that have a point."""
    colours, markers = _looks(cells)
    drawn = [cell.record for cell in cells if _drawable(cell)]
    shown = {record.backbone.method for record in drawn}
    run_by = {record.engine.name for record in drawn}
    methods = [Key(name, colour, "●") for name, colour in colours.items() if name in shown]
    engines = [
        Key(name, "currentColor", SIGNS[marker])
        for name, marker in markers.items()
        if name in run_by
    ]
    return methods, engines


def _looks(cells: Sequence[Cell]) -> tuple[dict[str, str], dict[str, str]]:
    colours = style.method_colours(c.record.backbone.method for c in cells if not c.is_dense)
    markers = style.engine_markers(cell.record.engine.name for cell in cells)
    return colours, {name: MARKERS[marker] for name, marker in markers.items()}


def _drawable(cell: Cell) -> bool:
    if not cell.record.backbone.trained:
        return False
    if cell.is_dense:
        return cell.row.best or (cell.row.total is not None and cell.row.total.ci95 is not None)
    total, delta = cell.row.total, cell.row.delta
    return bool(total and total.ci95 and delta and delta.ci95)


def _left_out(cells: Sequence[Cell]) -> str:
    untrained = sum(not cell.record.backbone.trained for cell in cells)
    others = sum(not _drawable(cell) for cell in cells) - untrained
    parts = [f"{untrained} with generated weights (speed only)"] if untrained else []
    parts += [f"{others} without an interval or an accuracy"] if others else []
    return ", ".join(parts)


def _figure(
    points: Sequence[Cell], cells: Sequence[Cell], margin: float, number: int
) -> dict[str, Any]:
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.models import (
        BooleanFilter,
        CDSView,
        ColumnDataSource,
        HoverTool,
        PrintfTickFormatter,
        Range1d,
    )
    from bokeh.models.annotations import BoxAnnotation, Span
    from bokeh.plotting import figure

    data = _columns(points, cells)
    word = word_of(cell.record.task.metric for cell in points)
    left, right = _range(data, "x", "low", "high")
    plot = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_axis_type="log" if right / left > WIDEST else "linear",
        x_range=Range1d(start=left, end=right),
        x_axis_label="speed-up over the best dense engine",
        y_axis_label=worded(CHANGE, word),
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag=None,
        active_scroll=None,
        toolbar_location="above",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        name="plot",
    )
    plot.toolbar.logo = None
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "13px"
    plot.xaxis.formatter = PrintfTickFormatter(format="%g×")
    plot.add_layout(
        BoxAnnotation(top=-margin, fill_alpha=0.10, fill_color="#888888", name="outside")
    )
    plot.add_layout(Span(dimension="width", location=0.0))
    plot.add_layout(Span(dimension="height", location=1.0))
    source = ColumnDataSource(dict(data), name="points")
    view = CDSView(filter=BooleanFilter(booleans=[True] * len(points), name="shown"))
    for ends in (("low", "y", "high", "y"), ("x", "below", "x", "above")):
        plot.segment(
            *ends, source=source, view=view, line_color="colour", line_width=1.3, line_alpha=0.65
        )
    dots = plot.scatter(
        "x", "y", marker="marker", size=10, source=source, view=view,
        line_color="colour", fill_color="colour", fill_alpha="filled", line_width=1.5,
    )  # fmt: skip
    plot.add_tools(
        HoverTool(renderers=[dots], tooltips=_tooltip(data), limit=3, point_policy="snap_to_data")
    )
    return dict(json_item(plot, ID(f"plot-{number}")))


def _columns(points: Sequence[Cell], cells: Sequence[Cell]) -> dict[str, list[Any]]:
    """Columns of the data source; strings that hover shows, and what filters ask for."""
    colours, markers = _looks(cells)
    columns: dict[str, list[Any]] = {}
    for cell in points:
        told = fields(cell.row)
        record, total, delta = cell.record, cell.row.total, cell.row.delta
        low, high = (total.ci95 if total else None) or (1.0, 1.0)
        below, above = (delta.ci95 if delta else None) or (0.0, 0.0)
        values = {
            "x": total.median if total else 1.0,
            "low": low,
            "high": high,
            "y": delta.mean if delta else 0.0,
            "below": below,
            "above": above,
            "colour": "dense" if cell.is_dense else colours[record.backbone.method],
            "marker": markers[record.engine.name],
            "filled": 0.0 if cell.is_dense else 0.85,
            "name": cell.name,
            "total": told[BEST_ENGINE].whole,
            "speedup": told[SAME_ENGINE].whole,
            "change_text": told[CHANGE].whole,
            "accuracy": told[ACCURACY].whole,
            "speed": f"{told['speed'].whole} {'images/s' if cell.section.throughput else 's'}",
            "memory": memory_text(record),
            "disk": disk_text(record),
            "energy": energy_text(record),
            "run": cell.run,
            "workload": record.workload,
            "task": record.task.name,
            "method": record.backbone.method,
            "engine": record.engine.name,
        }
        for key, value in values.items():
            columns.setdefault(key, []).append(value)
    columns["base_colour"] = list(columns["colour"])
    columns["colour"] = ["#777777" if one == "dense" else one for one in columns["colour"]]
    return columns


def _range(data: dict[str, list[Any]], mid: str, low: str, high: str) -> tuple[float, float]:
    """Ends of a ratio's axis: all points, and intervals as far as they are sensible."""
    least, most = min(data[mid]), max(data[mid])
    left = max(min(data[low]), least / REACH)
    right = min(max(data[high]), most * REACH)
    return left / 1.05, right * 1.05
