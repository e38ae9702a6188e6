"""Measured speed-up against what theory allows: non-zero FLOPs, or Amdahl's law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.comparisons.bounds import INFERENCE
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import NothingToDrawError, finish, new_figure, styled
from sparsebench.bench.present.plots.data import (
    ALL,
    LeftOut,
    RunData,
    Selection,
    change_words,
    complete,
)
from sparsebench.bench.records import Comparison, Record

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cell = tuple[Comparison, Record]
SOURCES = {
    "flops": "every zero skipped (FLOPs)",
    INFERENCE: "Amdahl's law on the measured inference",
}


@styled
def draw(runs: Sequence[RunData], selection: Selection = ALL) -> Figure:
    """One panel a workload: the bound to the right, what was measured upwards.

    Raises:
        NothingToDrawError: no cell has both a speed-up and a bound.
    """
    left_out = LeftOut()
    panels: dict[str, list[Cell]] = {}
    for run in runs:
        for comparison, record in complete(run, selection, left_out):
            if comparison.amdahl_bound is None:
                left_out.add("without a bound")
            else:
                panels.setdefault(record.workload, []).append((comparison, record))
    cells = [cell for inside in panels.values() for cell in inside]
    if not cells:
        raise NothingToDrawError(
            f"No cell has a speed-up and a bound to hold it against. {left_out}".strip(),
            "Measure trained sparse backbones with their dense partners.",
        )
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    width, height = (4.6, 4.2) if columns > 1 else (5.4, 4.6)
    figure = new_figure(width * columns, height * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    colours = style.method_colours(record.backbone.method for _, record in cells)
    markers = style.engine_markers(record.engine.name for _, record in cells)
    for axes, (workload, inside) in zip(grid, panels.items(), strict=False):
        _panel(axes, inside, colours, markers)
        axes.set_title(workload, fontweight="bold")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    changes = dict.fromkeys(_words(comparison, record) for comparison, record in cells)
    few = f" Accuracy against dense: {'; '.join(changes)}." if len(changes) <= 6 else ""
    note = f"Bars: 95% intervals. On the line a speed-up reaches its bound.{few} {left_out}"
    finish(figure, _legend(colours, markers, cells), note.strip())
    return figure


def _words(comparison: Comparison, record: Record) -> str:
    assert comparison.accuracy_delta is not None
    name = record.backbone.name.partition("@")[0]
    return f"{name} on {record.task.name} {change_words(comparison.accuracy_delta.mean)}"


def _panel(
    axes: Axes, cells: Sequence[Cell], colours: dict[str, str], markers: dict[str, str]
) -> None:
    from matplotlib.ticker import NullLocator

    from sparsebench.bench.present.plots.axes import nice_ticks, times_formatter

    values = [1.0]
    for comparison, record in cells:
        assert comparison.speedup is not None and comparison.amdahl_bound is not None
        speedup, bound = comparison.speedup, comparison.amdahl_bound
        low, high = speedup.ci95 or (speedup.median, speedup.median)
        values += [speedup.median, bound]
        colour = colours[record.backbone.method]
        hollow = comparison.bound_from == "flops"
        axes.errorbar(
            bound, speedup.median, yerr=[[speedup.median - low], [high - speedup.median]],
            color=colour, marker=markers[record.engine.name], markersize=6.5,
            markerfacecolor="white" if hollow else colour, elinewidth=1.0, capsize=2.2, zorder=3,
        )  # fmt: skip
    low, high = 0.8 * min(values), 1.3 * max(values)
    for axis in ("x", "y"):
        getattr(axes, f"set_{axis}scale")("log", base=2)
        getattr(axes, f"set_{axis}lim")(low, high)
        ticks = getattr(axes, f"{axis}axis")
        ticks.set_ticks(nice_ticks(low, high))
        ticks.set_minor_locator(NullLocator())
        ticks.set_major_formatter(times_formatter())
    axes.set_aspect("equal")
    axes.plot([low, high], [low, high], color=style.QUIET, linewidth=0.9, zorder=1)
    axes.plot(
        [low, high], [low / 2, high / 2], color=style.GUIDE, linewidth=0.8, linestyle=(0, (4, 2)),
        zorder=0,
    )  # fmt: skip
    axes.axhline(1, color=style.GUIDE, linewidth=0.8, zorder=0)
    axes.set_xlabel("speed-up that theory allows")
    axes.set_ylabel("measured speed-up, same engine")


def _legend(
    colours: dict[str, str], markers: dict[str, str], cells: Sequence[Cell]
) -> list[Artist]:
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D([], [], color=colour, linewidth=4, solid_capstyle="butt", label=method)
        for method, colour in colours.items()
    ]
    handles += [
        Line2D([], [], linestyle="", marker=marker, color=style.QUIET, label=engine)
        for engine, marker in markers.items()
    ]
    for source in sorted({str(comparison.bound_from) for comparison, _ in cells}):
        face = "white" if source == "flops" else style.QUIET
        shape = "hollow" if source == "flops" else "filled"
        handles.append(
            Line2D(
                [], [], linestyle="", marker="o", color=style.QUIET, markerfacecolor=face,
                label=f"{shape}: {SOURCES.get(source, source)}",
            )
        )  # fmt: skip
    handles.append(Line2D([], [], color=style.QUIET, linewidth=0.9, label="all of the bound"))
    handles.append(
        Line2D([], [], color=style.GUIDE, linewidth=0.8, linestyle=(0, (4, 2)), label="half of it")
    )
    return handles
