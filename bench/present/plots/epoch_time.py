"""Time per epoch against accuracy, of step-by-step training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.comparisons.training import epoch_seconds
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import NothingToDrawError, finish, new_figure, styled
from sparsebench.bench.present.plots.data import ALL, LeftOut, RunData, Selection
from sparsebench.bench.present.plots.marks import Mark, draw_mark, label_marks
from sparsebench.bench.records import Record
from sparsebench.bench.statistics import geometric_interval
from sparsebench.models.names import format_percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

Shown = list[tuple[Record, Mark]]


@styled
def draw(runs: Sequence[RunData], selection: Selection = ALL) -> Figure:
    """One panel a workload, task and engine; to the left is faster, up is better.

    Raises:
        NothingToDrawError: nothing was trained step by step.
    """
    left_out = LeftOut()
    panels: dict[str, list[Record]] = {}
    for run in runs:
        for record in run.records:
            if not selection.holds(record) or not epoch_seconds(record):
                continue
            if not record.backbone.trained or record.accuracy is None:
                left_out.add("with generated weights or without an accuracy")
                continue
            title = f"{record.workload} on {record.task.name}, {record.engine.name}"
            if len({one.machine.get("fingerprint") for r in runs for one in r.records}) > 1:
                title += f", {run.name}"
            panels.setdefault(title, []).append(record)
    if not panels:
        raise NothingToDrawError(
            f"Nothing was trained epoch by epoch. {left_out}".strip(),
            "`sparsebench run finetune` does: workloads linear-online and full.",
        )
    records = [record for inside in panels.values() for record in inside]
    colours = style.method_colours(r.backbone.method for r in records if not r.backbone.is_dense)
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = style.PANEL_INCHES if columns > 1 else (5.6, 3.8)
    figure = new_figure(width * columns, height * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    shown = [[(record, _mark(record, colours)) for record in inside] for inside in panels.values()]
    for axes, title, marks in zip(grid, panels, shown, strict=False):
        for record, mark in marks:
            shape = "o" if record.backbone.is_dense else "s"
            draw_mark(axes, mark, shape, hollow=record.backbone.is_dense)
        axes.margins(0.15)
        axes.set_xlim(left=0)
        axes.set_title(title, fontweight="bold")
        axes.set_xlabel("seconds an epoch")
        axes.set_ylabel("test accuracy, %")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    note = f"Whiskers: 95% intervals over seeds. {left_out}"
    finish(figure, _legend(colours), note.strip())
    for axes, marks in zip(grid, shown, strict=False):
        label_marks(axes, [mark for _, mark in marks])
    return figure


def _mark(record: Record, colours: dict[str, str]) -> Mark:
    assert record.accuracy is not None
    seconds = geometric_interval(epoch_seconds(record))
    low, high = seconds.ci95 or (seconds.mid, seconds.mid)
    mean = 100 * record.accuracy.mean
    below, above = (100 * end for end in record.accuracy.ci95 or (mean / 100, mean / 100))
    backbone = record.backbone
    label = "dense" if backbone.is_dense else f"{format_percent(round(backbone.zeros, 3))}%"
    if "+" in backbone.name:
        label += " compact"
    return Mark(
        # The interval of two seeds can reach any number of seconds; three times says enough.
        (max(low, seconds.mid / 3), seconds.mid, min(high, 3 * seconds.mid)),
        (max(below, mean - 30), mean, min(above, mean + 30)),
        label,
        colours.get(backbone.method, style.DENSE),
    )


def _legend(colours: dict[str, str]) -> list[Artist]:
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D([], [], linestyle="", marker="s", color=colour, label=method)
        for method, colour in colours.items()
    ]
    hollow = Line2D(
        [], [], linestyle="", marker="o", markerfacecolor="white", color=style.DENSE, label="dense"
    )
    return [*handles, hollow]
