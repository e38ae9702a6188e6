"""Performance profiles over tasks: how often a backbone is within a factor of the fastest.

E. D. Dolan, J. J. Moré, Mathematical Programming 91 (2002); see `bench.statistics.profiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots import canvas, data, style
from sparsebench.bench.present.plots.axes import log_axis
from sparsebench.bench.present.tables.cell_labels import engine_label, varying_settings
from sparsebench.bench.present.tables.over_tasks import OverTasks, over_tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FARTHEST = 16.0
DASHES: tuple[Any, ...] = (
    "-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (2, 1.5)), (0, (3, 1, 1, 1, 1, 1)),
)  # fmt: skip


@style.styled
def draw(
    runs: Sequence[RunData],
    selection: data.Selection = data.ALL,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """One panel a workload: the share of tasks within a factor of the fastest backbone and engine.

    Raises:
        NothingToDrawError: no workload was measured on two tasks.
        SparsebenchError: the runs come from several machines.
    """
    data.same_machine(runs)
    records = [record for run in runs for record in run.records if selection.holds(record)]
    trials = [trial for run in runs for trial in run.trials]
    comparisons = [comparison for run in runs for comparison in run.comparisons]
    found = over_tasks(records, trials, comparisons)
    if not found:
        raise canvas.NothingToDrawError(
            "A performance profile needs a workload that was measured on two tasks with trained "
            "backbones.",
            "Name more tasks (--task for each) in a run, or several runs here.",
        )
    names = list(dict.fromkeys(profile.name for one in found for profile in one.profiles))
    looks, changes = _looks(names), _changes(runs)
    keys = [
        canvas.key(name + (f" ({data.change_words(changes[name])})" if name in changes else ""),
            colour, line=dashes, linewidth=1.4)
        for name, (colour, dashes) in looks.items()
    ]  # fmt: skip
    shown = [
        canvas.Panel(
            f"{one.workload}, {len(one.tasks)} tasks", partial(_panel, one=one, looks=looks)
        )
        for one in found
    ]
    drawn = {(one.workload, task) for one in found for task in one.tasks}
    note = data.caption(one for one in records if (one.workload, one.task.name) in drawn)
    note += " Left edge: how often it is the fastest. Height at the right: how often it ran at "
    note += "all. In brackets: mean accuracy change."
    return canvas.panels(shown, page, keys, note, most=2)


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
    finite = [f for profile in one.profiles for f in profile.factors if np.isfinite(f)]
    end = min(FARTHEST, max(1.25, 1.15 * max(finite, default=1.0)))
    for place, profile in enumerate(one.profiles):
        factors = [f for f in profile.factors if f <= end]
        steps = [1.0, *factors, end]
        shares = [profile.within(factor) for factor in steps]
        colour, dashes = looks[profile.name]
        axes.step(
            steps, shares, where="post", color=colour, linestyle=dashes, linewidth=1.3,
            zorder=3 + place / 100,
        )  # fmt: skip
    log_axis(axes, "x", 1, end)
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("time relative to the fastest")
    axes.set_ylabel("share of tasks")


def _changes(runs: Sequence[RunData]) -> dict[str, float]:
    """ "backbone on engine" -> mean accuracy change over its cells, pp."""
    records = [record for run in runs for record in run.records]
    names: dict[str, str] = {}
    for workload in dict.fromkeys(record.workload for record in records):
        mine = [one for one in records if one.workload == workload and one.backbone.trained]
        varying = varying_settings(mine)
        names |= {one.id: f"{one.backbone.name} on {engine_label(one, varying)}" for one in mine}
    found: dict[str, list[float]] = {}
    for run in runs:
        for comparison in run.comparisons:
            if comparison.accuracy_delta is not None and comparison.sparse in names:
                change = comparison.accuracy_delta.mean
                found.setdefault(names[comparison.sparse], []).append(change)
    return {name: fmean(changes) for name, changes in found.items()}
