"""Benefit over dense against the difficulty of a task, with correlation and interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.paper.cells import label_of
from sparsebench.bench.paper.measures import Benefit, Correlation
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import NothingToDrawError, finish, new_figure, styled
from sparsebench.bench.present.plots.error_increase import whose
from sparsebench.bench.present.tables.numbers import MINUS
from sparsebench.models.names import format_percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL = (3.07, 2.1)  # without the lines of correlations
LINE_INCHES = 0.118
# Light to dark with rising sparsity; the markers differ too.
SHADES = ("#E69F00", "#56B4E9", "#0072B2", "#000000", "#CC79A7", "#009E73")


@styled
def draw(paper: Sequence[Benefit], ours: Sequence[Benefit], arch: str) -> Figure:
    """A panel a method; x the tasks' difficulty, y the accuracy change against dense.

    Args:
        paper: of all networks of the paper.
        ours: of all of ours.
        arch: which architecture to show.

    Raises:
        NothingToDrawError: no network of it has a task of known difficulty.
    """
    theirs, mine = ([one for one in found if one.model.arch == arch] for found in (paper, ours))
    everyone = [*theirs, *mine]
    if not everyone:
        raise NothingToDrawError(
            f"No task of {arch} has a known difficulty.",
            "It needs the dense network after linear and after full fine-tuning.",
        )
    methods = list(dict.fromkeys(one.model.method for one in everyone))
    sparsities = sorted({one.model.sparsity for one in everyone})
    columns = min(COLUMNS, len(methods))
    rows = math.ceil(len(methods) / columns)
    width = PANEL[0] if columns == COLUMNS else 4.4
    most = max(sum(one.model.method == method for one in everyone) for method in methods)
    height = PANEL[1] + LINE_INCHES * most
    figure = new_figure(width * columns, height * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, (axes, method) in enumerate(zip(grid, methods, strict=False)):
        _panel(
            axes,
            [one for one in theirs if one.model.method == method],
            [one for one in mine if one.model.method == method],
            sparsities,
            LINE_INCHES / (height - 0.55),
        )
        axes.set_title(f"{label_of(method)}, {arch}", fontweight="bold")
        if place % columns == 0:
            axes.set_ylabel("accuracy change, points")
        if place + columns >= len(methods):
            axes.set_xlabel("difficulty: dense full \N{MINUS SIGN} linear, points")
    for axes in grid[len(methods) :]:
        axes.set_axis_off()
    hardest = sorted(everyone[0].gaps.items(), key=lambda item: -item[1])[:4]
    names = ", ".join(f"{task} {gap:.1f}" for task, gap in hardest)
    note = f"Linear fine-tuning. r: Pearson, with its 95% interval. Hardest: {names}."
    finish(figure, _legend(sparsities, bool(theirs), bool(mine)), note)
    return figure


def _panel(
    axes: Axes,
    paper: Sequence[Benefit],
    ours: Sequence[Benefit],
    sparsities: Sequence[float],
    line: float,
) -> None:
    """One method; a line of text is `line` high, as a share of the panel."""
    axes.axhline(0, color=style.DENSE, linewidth=0.8, zorder=1)
    lines = []
    for found, hollow in ((paper, True), (ours, False)):
        for one in sorted(found, key=lambda benefit: benefit.model.sparsity):
            place = sparsities.index(one.model.sparsity)
            colour = SHADES[place % len(SHADES)]
            axes.plot(
                list(one.gaps.values()), list(one.changes.values()), linestyle="",
                marker=style.MARKERS[place % len(style.MARKERS)], markersize=4.5, color=colour,
                markerfacecolor="white" if hollow else colour, zorder=2 if hollow else 3,
            )  # fmt: skip
            if one.of_change is not None:
                whom = "" if hollow else ", ours"
                lines.append(
                    f"{format_percent(one.model.sparsity)}%{whom}: r {_words(one.of_change)}"
                )
    axes.margins(y=0.1)
    bottom, top = axes.get_ylim()
    taken = line * (len(lines) + 0.5)  # by the correlations, above the points
    axes.set_ylim(bottom, top + (top - bottom) * taken / (1 - taken))
    axes.text(
        0.02, 0.99, "\n".join(lines), transform=axes.transAxes, va="top", ha="left",
        fontsize=style.SMALL - 0.5, color="#333333", linespacing=1.25,
    )  # fmt: skip


def _words(found: Correlation) -> str:
    text = f"{found.r:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
    return text.replace("-", MINUS)


def _legend(sparsities: Sequence[float], paper: bool, ours: bool) -> list[Artist]:
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D(
            [], [], linestyle="", marker=style.MARKERS[place % len(style.MARKERS)], markersize=5,
            color=SHADES[place % len(SHADES)], label=f"{format_percent(sparsity)}% zeros",
        )
        for place, sparsity in enumerate(sparsities)
    ]  # fmt: skip
    return [*handles, *whose(paper, ours)]
