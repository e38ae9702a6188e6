"""Performance profiles over tasks: how often a backbone is within a factor of the fastest.

E. D. Dolan, J. J. Moré, Mathematical Programming 91 (2002); see `bench.statistics.profiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import NothingToDrawError, finish, new_figure, styled
from sparsebench.bench.present.plots.data import ALL, RunData, Selection, change_words, same_machine
from sparsebench.bench.present.tables.over_tasks import OverTasks, over_tasks

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FARTHEST = 16.0
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


@styled
def draw(runs: Sequence[RunData], selection: Selection = ALL) -> Figure:
    """One panel a workload: the share of tasks within a factor of the fastest backbone and engine.

    Raises:
        NothingToDrawError: no workload was measured on two tasks.
        SparsebenchError: the runs come from several machines.
    """
    same_machine(runs)
    records = [record for run in runs for record in run.records if selection.holds(record)]
    trials = [trial for run in runs for trial in run.trials]
    comparisons = [comparison for run in runs for comparison in run.comparisons]
    found = over_tasks(records, trials, comparisons)
    if not found:
        raise NothingToDrawError(
            "A performance profile needs a workload that was measured on two tasks with trained "
            "backbones.",
            "Name more tasks (--task for each) in a run, or several runs here.",
        )
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    width, height = style.PANEL_INCHES if columns > 1 else (6.4, 3.8)
    figure = new_figure(width * columns, height * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    names = list(dict.fromkeys(profile.name for one in found for profile in one.profiles))
    looks = _looks(names)
    for axes, one in zip(grid, found, strict=False):
        _panel(axes, one, looks)
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    note = "Left edge: how often it is the fastest. Height at the right: how often it ran at all."
    finish(figure, _legend(looks, _changes(runs)), note)
    return figure


def _looks(names: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """Backbone by colour (dense black), engine by dashes."""
    parts = {name: name.rpartition(" on ")[::2] for name in names}
    methods = {
        backbone: backbone.partition("/")[2].partition("@")[0].rpartition("-")[0]
        for backbone, _ in parts.values()
    }
    sparse = [backbone for backbone in dict.fromkeys(methods) if methods[backbone]]
    colours = {b: style.COLOURS[n % len(style.COLOURS)] for n, b in enumerate(sorted(sparse))}
    engines = list(style.engine_markers(engine for _, engine in parts.values()))
    return {
        name: (
            colours.get(backbone, style.DENSE),
            DASHES[engines.index(engine) % len(DASHES)],
        )
        for name, (backbone, engine) in parts.items()
    }


def _panel(axes: Axes, one: OverTasks, looks: dict[str, tuple[str, Any]]) -> None:
    from matplotlib.ticker import NullLocator

    from sparsebench.bench.present.plots.axes import nice_ticks, times_formatter

    finite = [f for profile in one.profiles for f in profile.factors if np.isfinite(f)]
    end = min(FARTHEST, max(1.25, 1.15 * max(finite, default=1.0)))
    for place, profile in enumerate(one.profiles):
        factors = [f for f in profile.factors if f <= end]
        steps = [1.0, *factors, end]
        shares = [profile.within(factor) for factor in steps]
        colour, dashes = looks[profile.name]
        axes.step(
            steps, shares, where="post", color=colour, linestyle=dashes, linewidth=1.5,
            zorder=3 + place / 100,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xlim(1, end)
    axes.set_xticks(nice_ticks(1, end))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(times_formatter())
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_title(f"{one.workload}, {len(one.tasks)} tasks", fontweight="bold")
    axes.set_xlabel("time over the fastest's time")
    axes.set_ylabel("share of tasks")


def _changes(runs: Sequence[RunData]) -> dict[str, float]:
    """ "backbone on engine" -> mean accuracy change over its cells, points."""
    found: dict[str, list[float]] = {}
    for run in runs:
        by_id = run.by_id
        for comparison in run.comparisons:
            record = by_id[comparison.sparse]
            if comparison.accuracy_delta is not None:
                name = f"{record.backbone.name} on {record.engine.name}"
                found.setdefault(name, []).append(comparison.accuracy_delta.mean)
    return {name: sum(changes) / len(changes) for name, changes in found.items()}


def _legend(looks: dict[str, tuple[str, Any]], changes: dict[str, float]) -> list[Artist]:
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [], [], color=colour, linestyle=dashes, linewidth=1.5,
            label=name + (f" ({change_words(changes[name])})" if name in changes else ""),
        )
        for name, (colour, dashes) in looks.items()
    ]  # fmt: skip
