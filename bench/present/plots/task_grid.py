"""Accuracy by sparsity, a small panel for each task: the paper's lines, our points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.paper.cells import DENSE, Cell, Transfer, in_order, label_of
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import NothingToDrawError, finish, new_figure, styled
from sparsebench.bench.present.plots.error_increase import whose

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
PANEL = (2.3, 1.85)
FAR_BELOW = 15.0
"""Points below dense at which a line leaves its panel, so that the others stay apart."""


@styled
def draw(paper: Sequence[Cell], ours: Sequence[Cell], arch: str, transfer: Transfer) -> Figure:
    """The grid of one architecture and kind of fine-tuning.

    Args:
        paper: all cells of the paper.
        ours: all cells of ours.
        arch: which architecture to show.
        transfer: which kind of fine-tuning to show.

    Raises:
        NothingToDrawError: there is no such cell.
    """
    theirs, mine = (
        [cell for cell in cells if (cell.model.arch, cell.transfer) == (arch, transfer)]
        for cells in (paper, ours)
    )
    tasks = sorted({cell.task for cell in (*theirs, *mine)})
    if not tasks:
        raise NothingToDrawError(
            f"There is no accuracy of {arch} after {transfer} fine-tuning.", "Measure one."
        )
    models = in_order(cell.model for cell in (*theirs, *mine))
    methods = list(dict.fromkeys(m.method for m in models if m.method != DENSE))
    colours = style.method_colours(methods)
    columns = min(COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    width = PANEL[0] if columns == COLUMNS else 3.4
    figure = new_figure(width * columns, PANEL[1] * rows + 0.3)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, (axes, task) in enumerate(zip(grid, tasks, strict=False)):
        _panel(
            axes,
            [cell for cell in theirs if cell.task == task],
            [cell for cell in mine if cell.task == task],
            methods,
            colours,
        )
        axes.set_title(task, fontweight="bold")
        if place % columns == 0:
            axes.set_ylabel("accuracy, %")
        if place + columns >= len(tasks):
            axes.set_xlabel("sparsity, %")
    for axes in grid[len(tasks) :]:
        axes.set_axis_off()
    figure.suptitle(f"{arch}, {transfer} fine-tuning", fontweight="bold", fontsize=10)
    note = f"What lies more than {FAR_BELOW:g} points below dense leaves its panel."
    finish(figure, _legend(methods, colours, bool(theirs), bool(mine)), note)
    return figure


def _panel(
    axes: Axes,
    paper: Sequence[Cell],
    ours: Sequence[Cell],
    methods: Sequence[str],
    colours: dict[str, str],
) -> None:
    for cells, hollow in ((paper, True), (ours, False)):
        dense = [cell.mean for cell in cells if cell.model.method == DENSE]
        for level in dense:
            axes.axhline(
                level, color=style.DENSE, linewidth=1.0, zorder=1,
                linestyle=(0, (4, 2)) if hollow else (0, (1, 1.2)),
            )  # fmt: skip
        for place, method in enumerate(methods):
            mine = sorted(
                (cell for cell in cells if cell.model.method == method),
                key=lambda cell: cell.model.sparsity,
            )
            if not mine:
                continue
            axes.errorbar(
                [100 * cell.model.sparsity for cell in mine], [cell.mean for cell in mine],
                yerr=[cell.std or 0.0 for cell in mine], color=colours[method],
                marker=style.MARKERS[place % len(style.MARKERS)],
                markersize=4.0 if hollow else 5.0,
                markerfacecolor="white" if hollow else colours[method],
                linewidth=1.0 if hollow else 0.0, elinewidth=0.8, zorder=2 if hollow else 4,
            )  # fmt: skip
    everyone = [*paper, *ours]
    levels = [cell.mean for cell in everyone if cell.model.method == DENSE]
    top = max(cell.mean for cell in everyone)
    floor = (min(levels) if levels else top) - FAR_BELOW
    inside = [cell.mean for cell in everyone if cell.mean >= floor]
    room = max(0.08 * (top - min(inside)), 0.3)
    axes.set_ylim(min(inside) - room, top + room)
    sparse = sorted({100 * c.model.sparsity for c in everyone if c.model.method != DENSE})
    if sparse:
        axes.set_xlim(sparse[0] - 2, sparse[-1] + 2)
        # 89 and 90 would write over each other.
        apart = [s for place, s in enumerate(sparse) if place == 0 or s - sparse[place - 1] > 1.5]
        axes.set_xticks(apart, [f"{value:g}" for value in apart])


def _legend(
    methods: Sequence[str], colours: dict[str, str], paper: bool, ours: bool
) -> list[Artist]:
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D(
            [], [], marker=style.MARKERS[place % len(style.MARKERS)], markersize=4.5,
            color=colours[method], linewidth=1.0, label=label_of(method),
        )
        for place, method in enumerate(methods)
    ]  # fmt: skip
    if paper:
        handles.append(
            Line2D([], [], color=style.DENSE, linestyle=(0, (4, 2)), label="dense, the paper")
        )
    if ours:
        handles.append(
            Line2D([], [], color=style.DENSE, linestyle=(0, (1, 1.2)), label="dense, ours")
        )
    return [*handles, *whose(paper, ours)]
