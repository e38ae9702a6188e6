"""Measured speed-up against what theory allows: non-zero FLOPs, or Amdahl's law."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparsebench.bench.comparisons.bounds import INFERENCE
from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots import canvas, data, style
from sparsebench.bench.present.plots.axes import log_axis
from sparsebench.bench.present.plots.marks import Span, draw_marks, span
from sparsebench.bench.records import Comparison, Record

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cell = tuple[Comparison, Record]
HALF = (0, (4, 2))
NEAR = 1.04  # a ratio that looks like 1
STEP = 6.0  # points
MOST_LANES = 12
SOURCES = {
    "flops": "every zero skipped (FLOPs)",
    INFERENCE: "Amdahl's law on the measured inference",
}


@style.styled
def draw(
    runs: Sequence[RunData],
    selection: data.Selection = data.ALL,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """One panel a workload: the bound to the right, what was measured upwards.

    Raises:
        NothingToDrawError: no cell has both a speed-up and a bound.
    """
    left_out = data.LeftOut()
    workloads: dict[str, list[Cell]] = {}
    for run in runs:
        for comparison, record in data.complete(run, selection, left_out):
            if comparison.amdahl_bound is None:
                left_out.add("without a bound")
            else:
                workloads.setdefault(record.workload, []).append((comparison, record))
    cells = [cell for inside in workloads.values() for cell in inside]
    if not cells:
        raise canvas.NothingToDrawError(
            f"No cell has a speed-up and a bound to compare it with. {left_out}".strip(),
            "Measure trained sparse backbones with their dense baselines.",
        )
    colours = style.method_colours(record.backbone.method for _, record in cells)
    markers = style.engine_markers(data.engine_label(record) for _, record in cells)
    changes = _changes(cells)
    few = f" Accuracy change: {'; '.join(changes)}." if len(changes) <= 6 else ""
    note = f"{data.caption(record for _, record in cells)} Whiskers: 95% confidence intervals."
    if any(any(_beside(inside)) for inside in workloads.values()):
        note += " Marks of one bound stand side by side."
    # Square panels: what stands above and below them is higher than the numbers beside are wide.
    across = min(len(workloads), page.panels)
    height = min(page.width / across, 3.4) + (0.2 if across > 1 else -0.1)
    fill = partial(_panel, colours=colours, markers=markers)
    shown = [
        canvas.Panel(workload, partial(fill, cells=inside), workload, height=height)
        for workload, inside in workloads.items()
    ]
    legend = _legend(colours, markers, cells)
    return canvas.panels(shown, page, legend, f"{note}{few} {left_out}".strip())


def _changes(cells: Sequence[Cell]) -> list[str]:
    """Each network's accuracy change; one in bf16 or INT8 is another network."""
    found: dict[str, dict[str, None]] = {}
    for comparison, record in cells:
        assert comparison.accuracy_delta is not None
        precision = record.engine.precision
        name = record.backbone.name.partition("@")[0] + f" {precision}" * (precision != "fp32")
        words = data.change_words(comparison.accuracy_delta.mean)
        found.setdefault(f"{name} on {record.task.name}", {})[words] = None
    return [f"{name} {' or '.join(words)}" for name, words in found.items()]


def _panel(
    axes: Axes, *, cells: Sequence[Cell], colours: dict[str, str], markers: dict[str, str]
) -> None:
    from matplotlib.transforms import ScaledTranslation

    values = [1.0]
    looks: dict[tuple[str, str, bool, float], list[tuple[float, Span]]] = {}
    for (comparison, record), beside in zip(cells, _beside(cells), strict=True):
        bound, measured = _place(comparison)
        values += [bound, *measured]
        colour, marker = colours[record.backbone.method], markers[data.engine_label(record)]
        look = colour, marker, comparison.bound_from == "flops", beside
        looks.setdefault(look, []).append((bound, measured))
    for (colour, marker, hollow, beside), places in looks.items():
        shift = ScaledTranslation(beside / 72, 0, axes.figure.dpi_scale_trans)
        bounds, spans = zip(*places, strict=True)
        draw_marks(axes, bounds, spans, colour, marker, hollow=hollow,
                   transform=axes.transData + shift)  # fmt: skip
    low, high = 0.85 * min(values), 1.2 * max(values)
    log_axis(axes, "x", low, high)
    log_axis(axes, "y", low, high)
    axes.set_box_aspect(1)
    axes.plot([low, high], [low, high], color=style.QUIET, linewidth=0.9, zorder=1)
    axes.plot([low, high], [low / 2, high / 2], color=style.GUIDE, linewidth=0.8, linestyle=HALF,
              zorder=0)  # fmt: skip
    axes.axhline(1, color=style.GUIDE, linewidth=0.8, zorder=0)
    axes.set_xlabel("speed-up that theory allows")
    axes.set_ylabel("speed-up vs dense, same engine")


def _place(comparison: Comparison) -> tuple[float, Span]:
    """The bound, and what was measured with its interval."""
    assert comparison.speedup is not None and comparison.amdahl_bound is not None
    return comparison.amdahl_bound, span(comparison.speedup.median, comparison.speedup.ci95)


def _beside(cells: Sequence[Cell]) -> list[float]:
    """How far each mark steps aside, points: two of about one bound would hide each other."""
    found = [0.0] * len(cells)
    order = sorted(range(len(cells)), key=lambda i: _place(cells[i][0])[0])
    while order:
        least = _place(cells[order[0]][0])[0]
        near = [i for i in order if _place(cells[i][0])[0] < NEAR * least]
        order = order[len(near) :]
        tops: list[float] = []  # of each lane; a mark takes the first that it fits into
        lanes = {}
        for i in sorted(near, key=lambda i: _place(cells[i][0])[1][0]):
            low, _, high = _place(cells[i][0])[1]
            free = [lane for lane, top in enumerate(tops) if top < low / NEAR]
            lanes[i] = free[0] if free else len(tops)
            tops[lanes[i] : lanes[i] + 1] = [high]
        if len(tops) > MOST_LANES:  # of hundreds of marks, some hide each other anyhow
            continue
        for i, lane in lanes.items():
            found[i] = STEP * (lane - (len(tops) - 1) / 2)
    return found


def _legend(
    colours: dict[str, str], markers: dict[str, str], cells: Sequence[Cell]
) -> list[Artist]:
    handles = [
        canvas.key(method, colour, line="-", linewidth=4) for method, colour in colours.items()
    ]
    handles += [canvas.key(engine, marker=marker) for engine, marker in markers.items()]
    for source in sorted({str(comparison.bound_from) for comparison, _ in cells}):
        hollow = source == "flops"
        shape = "hollow" if hollow else "filled"
        handles.append(
            canvas.key(f"{shape}: {SOURCES.get(source, source)}", marker="o", hollow=hollow)
        )
    handles.append(canvas.key("all of the bound", line="-", linewidth=0.9))
    handles.append(canvas.key("half of it", style.GUIDE, line=HALF, linewidth=0.8))
    return handles
