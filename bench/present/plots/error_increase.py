"""Mean relative error increase per method and sparsity, linear and full: the paper's and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.paper.cells import TRANSFERS, label_of
from sparsebench.bench.paper.measures import ErrorIncrease
from sparsebench.bench.paper.reproduction import ErrorRow
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import NothingToDrawError, finish, new_figure, styled
from sparsebench.models.names import format_percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGHEST = 60.0
"""Per cent; what lies above is an arrow with its number, so that the others stay apart."""
WIDTH, HEIGHT = 9.2, 2.75
SPREAD = 0.78  # of a group of methods, in units of the axis
SIDE = 0.26  # ours beside the paper's, as a share of a method's place


@styled
def draw(rows: Sequence[ErrorRow], arch: str) -> Figure:
    """Two panels, linear above full; hollow the paper's, filled ours.

    Args:
        rows: of `sparsebench.bench.paper.Reproduction.errors`.
        arch: which architecture.

    Raises:
        NothingToDrawError: no row is of this architecture.
    """
    mine = [row for row in rows if row.model.arch == arch]
    transfers = [t for t in TRANSFERS if any(row.transfer == t for row in mine)]
    if not transfers:
        raise NothingToDrawError(
            f"There is no relative error increase of {arch}.",
            "Measure a sparse network of it and its dense partner.",
        )
    methods = list(dict.fromkeys(row.model.method for row in mine))
    colours = style.method_colours(methods)
    figure = new_figure(WIDTH, HEIGHT * len(transfers))
    grid = figure.subplots(len(transfers), 1, squeeze=False)[:, 0]
    for axes, transfer in zip(grid, transfers, strict=True):
        _panel(axes, [row for row in mine if row.transfer == transfer], methods, colours)
        axes.set_title(f"{arch}, {transfer} fine-tuning", fontweight="bold")
        axes.set_ylabel("mean relative error\nincrease, %")
    grid[-1].set_xlabel("sparsity")
    tasks = sorted({len(row.ours.tasks) for row in mine if row.ours})
    note = "Bars: 95% intervals over tasks. Below 0: fewer errors than dense."
    if tasks:
        note += f" Ours over {' to '.join(map(str, sorted({tasks[0], tasks[-1]})))} tasks."
    if any(row.paper for row in mine):
        note += " The paper's over 12."
    finish(figure, _legend(mine, methods, colours), note)
    return figure


def _panel(
    axes: Axes, rows: Sequence[ErrorRow], methods: Sequence[str], colours: dict[str, str]
) -> None:
    sparsities = sorted({row.model.sparsity for row in rows})
    step = SPREAD / len(methods)
    axes.axhline(0, color=style.DENSE, linewidth=0.9, zorder=1)
    both = any(row.paper for row in rows) and any(row.ours for row in rows)
    for row in rows:
        centre = sparsities.index(row.model.sparsity) + step * (
            methods.index(row.model.method) - (len(methods) - 1) / 2
        )
        shift = SIDE * step if both else 0.0
        colour = colours[row.model.method]
        marker = style.MARKERS[methods.index(row.model.method) % len(style.MARKERS)]
        if row.paper is not None:
            _point(axes, centre - shift, row.paper, colour, marker, hollow=True)
        if row.ours is not None:
            _point(axes, centre + shift, row.ours, colour, marker, hollow=False)
    for place in range(1, len(sparsities)):
        axes.axvline(place - 0.5, color=style.GUIDE, linewidth=0.6, zorder=0)
    axes.set_xticks(range(len(sparsities)), [f"{format_percent(s)}%" for s in sparsities])
    axes.set_xlim(-0.5, len(sparsities) - 0.5)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -HIGHEST), min(top, 1.12 * HIGHEST))


def _point(
    axes: Axes, x: float, found: ErrorIncrease, colour: str, marker: str, *, hollow: bool
) -> None:
    value = found.value
    if value.mid > HIGHEST:
        axes.annotate(
            f"{value.mid:+.0f}", (x, HIGHEST), xytext=(0, -17), textcoords="offset points",
            ha="center", va="top", fontsize=style.SMALL, color=style.ink(colour), rotation=90,
        )  # fmt: skip
        axes.plot([x], [HIGHEST], marker=6, markersize=8, color=colour, linestyle="")  # a caret up
        return
    low, high = value.ci95 or (value.mid, value.mid)
    axes.errorbar(
        x, value.mid, yerr=[[value.mid - low], [high - value.mid]], color=colour, marker=marker,
        markersize=5.5, markerfacecolor="white" if hollow else colour, elinewidth=1.0,
        capsize=1.8, zorder=3,
    )  # fmt: skip


def _legend(
    rows: Sequence[ErrorRow], methods: Sequence[str], colours: dict[str, str]
) -> list[Artist]:
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D(
            [], [], linestyle="", marker=style.MARKERS[place % len(style.MARKERS)],
            color=colours[method], label=label_of(method),
        )
        for place, method in enumerate(methods)
    ]  # fmt: skip
    return [*handles, *whose(any(row.paper for row in rows), any(row.ours for row in rows))]


def whose(paper: bool, ours: bool) -> list[Artist]:
    """Legend entries that tell the paper's hollow marks from our filled ones."""
    from matplotlib.lines import Line2D

    entries = [("white", "hollow: the paper")] if paper else []
    entries += [(style.QUIET, "filled: ours")] if ours else []
    return [
        Line2D(
            [], [], linestyle="", marker="o", color=style.QUIET, markerfacecolor=face, label=name
        )
        for face, name in entries
    ]
