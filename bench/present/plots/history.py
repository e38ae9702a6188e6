"""The ratios of one machine, run after run, with their lasting changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.history.changepoints import ChangePoint
from sparsebench.bench.history.series import History, Series
from sparsebench.bench.present import escape
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import NothingToDrawError, finish, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.2, 1.65
BETTER, WORSE = style.COLOURS[2], style.COLOURS[1]
KINDS = {"speedup": "speed-up", "engines": "against\nother engines"}


@styled
def draw(history: History, points: Sequence[ChangePoint]) -> Figure:
    """A panel a series, its levels as lines, and a mark at each lasting change.

    Raises:
        NothingToDrawError: there is no series.
    """
    count = len(history.series)
    if not count:
        raise NothingToDrawError(
            "No cell of these runs has a ratio to follow.",
            "Measure sparse backbones with their dense partners, or dense ones on two engines.",
        )
    figure = new_figure(WIDTH, HEIGHT * count + 0.3)
    grid = figure.subplots(count, 1, squeeze=False)[:, 0]
    for axes, series in zip(grid, history.series, strict=True):
        here = [p for p in points if (p.name, p.kind) == (series.name, series.kind)]
        _panel(axes, series, here)
    grid[-1].set_xlabel("run, oldest first")
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=style.COLOURS[0], marker="o", markersize=3.5, label="ratio of a run"),
        Line2D([], [], color=WORSE, marker="v", linestyle="--", label="lasting change, worse"),
        Line2D([], [], color=BETTER, marker="^", linestyle="--", label="lasting change, better"),
    ]
    finish(figure, handles, "Whiskers: 95% intervals. Accuracies: in the runs' tables.")
    return figure


def _panel(axes: Axes, series: Series, points: Sequence[ChangePoint]) -> None:
    errors: list[list[float]] = [[], []]
    for ratio, interval in zip(series.ratios, series.intervals, strict=True):
        low, high = interval or (ratio, ratio)
        errors[0].append(ratio - low)
        errors[1].append(high - ratio)
    axes.errorbar(
        range(len(series.ratios)), series.ratios, yerr=errors, fmt="o-", color=style.COLOURS[0],
        markersize=3.5, linewidth=1.0, elinewidth=0.7, capsize=1.5,
    )  # fmt: skip
    for point in points:
        here = series.runs.index(point.run) - 0.5
        worse = point.change < 0
        colour = WORSE if worse else BETTER
        axes.axvline(here, color=colour, linewidth=1.1, linestyle="--")
        axes.plot([here], [1.0], marker="v" if worse else "^", color=colour, clip_on=False,
                  transform=axes.get_xaxis_transform())  # fmt: skip
        axes.annotate(
            f"{point.change:+.0%}".replace("-", "\N{MINUS SIGN}"), (here, 1),
            xycoords=("data", "axes fraction"), textcoords="offset points", xytext=(6, -8),
            color=style.ink(colour), fontsize=style.SMALL + 1, fontweight="bold",
        )  # fmt: skip
    axes.set_title(escape.visible(series.name), fontsize=style.SMALL + 1)
    axes.set_ylabel(KINDS.get(series.kind, series.kind))
    axes.margins(y=0.25)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
