"""The ratios of one machine, run after run, with their lasting changes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparsebench.bench.comparisons.history.changepoints import ChangePoint
from sparsebench.bench.comparisons.history.series import History, Series
from sparsebench.bench.present import escape
from sparsebench.bench.present.plots import canvas, style
from sparsebench.bench.present.plots.marks import draw_marks, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 1.3
BETTER, WORSE = style.COLOURS[2], style.COLOURS[1]
KINDS = {"speedup": "speed-up", "engines": "vs other\nengines"}


@style.styled
def draw(
    history: History, points: Sequence[ChangePoint], page: canvas.Page = canvas.TWO_COLUMNS
) -> list[Figure]:
    """A panel a series, its levels as lines, and a mark at each lasting change.

    Raises:
        NothingToDrawError: there is no series.
    """
    followed = [series for series in history.series if len(series.runs) > 1]
    if not followed:
        raise canvas.NothingToDrawError(
            "No cell has a ratio in two of these runs or more, so there is nothing to follow.",
            "Measure the same cells again: sparse backbones with their dense baselines, or dense "
            "ones on two engines.",
        )
    shown = []
    for series in followed:
        here = [p for p in points if (p.name, p.kind) == (series.name, series.kind)]
        fill = partial(_panel, series=series, points=here, runs=history.runs)
        shown.append(canvas.Panel(escape.visible(series.name), fill, height=HEIGHT))
    keys = [
        canvas.key("ratio of a run", style.COLOURS[0], "o", "-"),
        canvas.key("lasting change, worse", WORSE, "v", "--"),
        canvas.key("lasting change, better", BETTER, "^", "--"),
    ]
    note = f"Machine {history.fingerprint}. Whiskers: 95% confidence intervals. Accuracies: in the "
    note += "runs' tables."
    if once := len(history.series) - len(followed):
        note += f" Not shown: {once} {'cell' if once == 1 else 'cells'} of a single run."
    return canvas.panels(shown, page, keys, note, most=1)


def _panel(axes: Axes, series: Series, points: Sequence[ChangePoint], runs: Sequence[str]) -> None:
    at = [runs.index(run) + 1 for run in series.runs]
    axes.plot(at, series.ratios, color=style.COLOURS[0], linewidth=1.0)
    spans = [span(*one) for one in zip(series.ratios, series.intervals, strict=True)]
    draw_marks(axes, at, spans, style.COLOURS[0], size=3.5)
    for point in points:
        here = runs.index(point.run) + 0.5
        worse = point.change < 0
        colour = WORSE if worse else BETTER
        axes.axvline(here, color=colour, linewidth=1.1, linestyle="--")
        axes.plot([here], [1.0], marker="v" if worse else "^", color=colour, clip_on=False,
                  transform=axes.get_xaxis_transform())  # fmt: skip
        axes.annotate(
            f"{point.change:+.0%}".replace("-", "\N{MINUS SIGN}"), (here, 1),
            xycoords=("data", "axes fraction"), textcoords="offset points", xytext=(6, -8),
            color=style.ink(colour), fontsize=style.SMALL, fontweight="bold",
        )  # fmt: skip
    axes.set_xlabel("run, oldest first")
    axes.set_ylabel(KINDS.get(series.kind, series.kind))
    axes.margins(y=0.25)
    axes.set_xlim(0.5, len(runs) + 0.5)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
