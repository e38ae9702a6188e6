"""A figure's canvas: panels on pages of a paper's width, a legend and a caption."""

from __future__ import annotations

import logging
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.saving import clean
from sparsebench.models.errors import NothingMeasuredError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)
LINE_INCHES = 0.125  # a line of the caption
LEGEND_INCHES = 0.137  # a line of the legend
AXIS_INCHES = 0.35  # the numbers beside a panel
FULL = 18  # panels of a figure over all its pages; those of a thousand cells would fill a book


class NothingToDrawError(NothingMeasuredError):
    """A figure for which the runs hold nothing."""


@dataclass(frozen=True)
class Page:
    """The place in a paper that a figure fills at its own size, so that its fonts match.

    Args:
        width: inches.
        panels: most panels in a row.
        height: inches; what is taller goes on to a further figure.
        most: panels at most, over all pages; None for one page of those that are more than FULL.
    """

    width: float
    panels: int
    height: float = 9.0
    most: int | None = None


ONE_COLUMN, TWO_COLUMNS = Page(3.3, 1), Page(7.0, 3)
PAGES = {1: ONE_COLUMN, 2: TWO_COLUMNS}


@dataclass(frozen=True)
class Panel:
    """One panel of a figure.

    Args:
        title: above it.
        fill: draws into its axes.
        part: panels of a part (a workload) stay on one page where they fit.
        group: panels of a group (its engines) stay in one row where they fit.
        label: writes what must be placed on the final layout.
        height: inches; 0 for the usual height of so many panels in a row.
    """

    title: str
    fill: Callable[[Axes], object]
    part: str = ""
    group: str = ""
    label: Callable[[Axes], object] | None = None
    height: float = 0.0


Rows = Sequence[Sequence[Panel]]


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches on a canvas of its own: pyplot's global state stays untouched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(
    shown: Sequence[Panel],
    page: Page,
    legend: Sequence[Artist],
    note: str,
    most: int = 3,
) -> list[Figure]:
    """Lay panels out in rows and pages, each page with the whole legend and caption.

    Args:
        shown: the panels, by part and group; the first are drawn, as many as `page` says.
        page: where the figure goes.
        legend: its handles, each with a label.
        note: the caption.
        most: panels in a row, at most; the page's own limit holds too.

    Returns:
        A figure a page. Axis labels that all panels of a row or column share stand once.
    """
    count, limit = len(shown), page.most or FULL
    left_out = f" These are {{}} of {count} panels."
    if count > limit:
        note += left_out  # which takes no more room with its number
        shown = shown[:limit]
    groups = [list(inside) for _, inside in groupby(shown, key=lambda one: (one.part, one.group))]
    widest = len(shown) if len(groups) == len(shown) else max(map(len, groups))
    columns = max(1, min(most, page.panels, widest))
    usual = style.PANEL_HEIGHTS[columns] if page.panels > 1 else style.COLUMN_PANEL_HEIGHT
    room = page.height - sum(_below(page.width, legend, note)[:2])

    def height(rows: Rows) -> float:
        return sum(max(one.height or usual for one in row) for row in rows)

    pages = _pages(groups, columns, lambda rows: height(rows) <= room)
    if count > limit:
        pages = pages if page.most else pages[:1]
        drawn = sum(len(row) for rows in pages for row in rows)
        note = note.removesuffix(left_out) + left_out.format(drawn)
        log.warning(
            "%d of %d panels are drawn; choose others by --task, --workload or --engine, or draw "
            "all with --panels %d.", drawn, count, count,
        )  # fmt: skip
    return [
        _page(rows, max(min(2, columns), *map(len, rows)), page.width,
              [height([row]) for row in rows], legend, note)
        for rows in pages
    ]  # fmt: skip


def _pages(
    groups: Sequence[Sequence[Panel]], columns: int, fits: Callable[[Rows], bool]
) -> list[list[list[Panel]]]:
    """Rows page by page; a part stays on one page where it fits."""
    everything = _rows(groups, columns)
    if fits(everything):
        return [everything]
    pages: list[list[list[Panel]]] = []
    for _, part in groupby(groups, key=lambda group: group[0].part):
        rows = _rows(list(part), columns)
        if pages and fits([*pages[-1], *rows]):
            pages[-1] += rows
            continue
        pages.append([])
        for row in rows:
            if pages[-1] and not fits([*pages[-1], row]):
                pages.append([])
            pages[-1].append(row)
    return pages


def _rows(groups: Sequence[Sequence[Panel]], columns: int) -> list[list[Panel]]:
    """Panels row by row; a group starts a row where it does not fit beside the one before."""
    rows: list[list[Panel]] = []
    for group in groups:
        if not rows or len(rows[-1]) + min(len(group), columns) > columns:
            rows.append([])
        for one in group:
            if len(rows[-1]) == columns:
                rows.append([])
            rows[-1].append(one)
    return rows


def _page(
    rows: Sequence[Sequence[Panel]],
    columns: int,
    width: float,
    heights: Sequence[float],
    legend: Sequence[Artist],
    note: str,
) -> Figure:
    figure = new_figure(width, sum(heights))
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    letters = int((width / columns - AXIS_INCHES) / 0.068)  # a title begins above the axes
    for place, row in enumerate(rows):
        for column, axes in enumerate(grid[place]):
            if column >= len(row):
                axes.set_axis_off()
                continue
            row[column].fill(axes)
            lines = row[column].title.split("\n")
            title = "\n".join(
                textwrap.fill(line, letters, break_on_hyphens=False) for line in lines
            )
            # At a place of its own, matplotlib does not look for a free one in every drawing.
            axes.set_title(title, fontweight="bold", y=1.0)
            if column and axes.get_ylabel() == grid[place][0].get_ylabel():
                axes.set_ylabel("")
            above = grid[place - 1][column]
            full = place and len(row) >= len(rows[place - 1])
            if full and above.get_xlabel() == axes.get_xlabel():
                above.set_xlabel("")
    finish(figure, legend, note)
    for place, row in enumerate(rows):
        for axes, one in zip(grid[place], row, strict=False):
            if one.label is not None:
                one.label(axes)
    return figure


def key(
    label: str,
    colour: str = style.QUIET,
    marker: str = "",
    line: Any = "",
    *,
    hollow: bool = False,
    size: float = 5.0,
    **looks: Any,
) -> Artist:
    """An entry of a legend: a marker, a line (its style), or both."""
    from matplotlib.lines import Line2D

    face = "white" if hollow else colour
    looks = {"markerfacecolor": face, "linewidth": 1.2, **looks}
    return Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=size,
                  label=label, **looks)  # fmt: skip


def _below(
    width: float, handles: Sequence[Artist], note: str
) -> tuple[float, float, int, list[str]]:
    """Inches of the legend and of the caption, the legend's columns, the caption's lines."""
    lines = textwrap.wrap(" ".join(note.split()), int(width / 0.0535))
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, min(len(handles), int(width / (0.42 + 0.058 * longest))))
    rows = math.ceil(len(handles) / columns)
    columns = math.ceil(len(handles) / max(1, rows))  # a last row of one entry looks lost
    caption = LINE_INCHES * len(lines) + (0.08 if lines else 0.0)
    return LEGEND_INCHES * rows + (0.1 if rows else 0.0), caption, columns, lines


def finish(figure: Figure, handles: Sequence[Artist], note: str = "") -> None:
    """Put legend and caption below the panels, which keep their size: the figure grows.

    Args:
        figure: with its panels.
        handles: of the legend, each with a label.
        note: the caption, wrapped to the figure's width.
    """
    width, height = (float(inches) for inches in figure.get_size_inches())
    legend, caption, columns, lines = _below(width, handles, note)
    total = height + legend + caption
    figure.set_size_inches(width, total)
    engine: Any = figure.get_layout_engine()
    below = (legend + caption) / total
    above = 0.02 / total  # where panels are square, titles would touch the edge
    engine.set(rect=(0, below, 1, 1 - below - above), w_pad=0.05, h_pad=0.05)
    if handles:
        figure.legend(
            handles=list(handles), loc="lower center", bbox_to_anchor=(0.5, caption / total),
            ncols=columns, handletextpad=0.5, columnspacing=1.2, borderaxespad=0.2,
            labelspacing=0.3,
        )  # fmt: skip
    figure.text(
        0.04 / width, 0.5 * caption / total, "\n".join(lines), fontsize=style.SMALL,
        color=style.QUIET, ha="left", va="center",
    )  # fmt: skip
    clean(figure)
    engine.execute(figure)
    # Labels are placed on the layout; making it anew is most of the work. With an engine of any
    # kind, even "none", matplotlib draws each file twice.
    figure.set_layout_engine(None)
