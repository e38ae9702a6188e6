"""Speed-up against accuracy change: a panel for each workload and engine, intervals both ways.

A colour, a marker and a label for each method, a size for each sparsity. The best dense engine
stands at (1, 0) in every panel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots import canvas, data, style
from sparsebench.bench.present.plots.axes import scale_axes
from sparsebench.bench.present.plots.marks import Mark, draw_mark, label_marks
from sparsebench.bench.present.plots.points import Against, Point, PointSet, points_of
from sparsebench.bench.present.plots.saving import save_figure
from sparsebench.bench.records import UNEQUAL
from sparsebench.bench.tasks.kinds import word_of, worded
from sparsebench.models.names import format_percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Looks = Mapping[str, tuple[str, str]]
Sizes = Mapping[float, float]
AXIS = {
    "total": "speed-up vs best dense engine",
    "speedup": "speed-up vs dense, same engine",
    "change": "accuracy change (pp)",
}
NO_WORSE_MARGIN = 0.5
"""Points below dense up to which an accuracy counts as no worse, unless another is stated."""
CROWDED = 30
ROOMY = 12
DASHED = (0, (4, 2))


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of which no other is at least as good in both coordinates and better in one.

    Args:
        points: (speed-up, accuracy change); more is better in both. Medians: a point whose
            interval reaches over the front may belong to it all the same.

    Returns:
        The front, by rising speed-up and so by falling change; equal points once.
    """
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def from_runs(
    runs: Sequence[RunData],
    selection: data.Selection = data.ALL,
    *,
    against: Against = "total",
    margin: float = NO_WORSE_MARGIN,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """The figure of one or several runs; their points share the panels.

    Raises:
        NothingToDrawError: no sparse backbone has both a speed-up and an accuracy change.
    """
    found = PointSet()
    for run in runs:
        found += points_of(run.records, run.comparisons, run.trials, against, selection)
    if all(point.is_dense for point in found.points):
        raise canvas.NothingToDrawError(
            f"No sparse backbone has a speed-up and an accuracy change. {found.left_out()}".strip(),
            "Measure trained sparse backbones with their dense baselines.",
        )
    return draw(found, against, margin, page)


def save(found: PointSet, folder: Path, stem: str, against: Against = "total") -> list[Path]:
    """Draw the figure and write it as PNG and SVG.

    Raises:
        SparsebenchError: the folder cannot be written.
    """
    return save_figure(draw(found, against), folder, stem)


@style.styled
def draw(
    found: PointSet,
    against: Against = "total",
    margin: float = NO_WORSE_MARGIN,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """The figure of points, a page each; one that says why where there are none.

    Args:
        found: what to show.
        against: what its speed-ups are against.
        margin: points below dense up to which an accuracy is no worse.
        page: where the figure goes.
    """
    sparse = [point for point in found.points if not point.is_dense]
    if not sparse:
        return [_nothing(found.left_out(), page)]
    looks = style.method_looks(point.method for point in sparse)
    sizes = style.sparsity_sizes(point.sparsity for point in sparse)
    shown = []
    every = list(style.engine_markers(point.engine for point in found.points))
    engines = [name for name in every if any(point.engine == name for point in sparse)]
    alone = [name for name in every if name not in engines]
    for title, group in _groups(found.points).items():
        drawn = {point.engine for point in group if not point.is_dense}
        for engine in sorted(drawn, key=engines.index):
            points = [point for point in group if point.engine == engine]
            # Ratios to each engine's own dense baseline are no front over engines.
            rivals = group if against == "total" else points
            fill = partial(_panel, group=group, points=points, rivals=rivals, looks=looks,
                           sizes=sizes, margin=margin, against=against)  # fmt: skip
            label = partial(_labels, points=points, looks=looks)
            shown.append(canvas.Panel(f"{title}\n{engine}", fill, group[0].workload, title, label))
    crowd = max(sum(p.engine == e for p in sparse) for e in engines)
    zeros = f" All sparse networks: {format_percent(next(iter(sizes)))}% zeros."
    note = f"{data.caption(found.records)} Whiskers: 95% confidence intervals."
    note += f"{zeros if len(sizes) == 1 else ''} {found.left_out()}"
    if any(point.mark for point in sparse):
        note += f" {UNEQUAL} Not the dense baseline's training budget."
    note += f" Without a panel, since dense alone: {', '.join(alone)}." if alone else ""
    legend = _legend(found.points, looks, sizes, margin, against)
    return canvas.panels(shown, page, legend, note.strip(), most=3 if crowd <= ROOMY else 2)


def _groups(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Title -> points: a workload and task; split by architecture where a panel is crowded."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.workload, point.task), []).append(point)
    order = list(dict.fromkeys(workload for workload, _ in found))
    titled: dict[str, list[Point]] = {}
    for (workload, task), inside in sorted(found.items(), key=lambda i: order.index(i[0][0])):
        sparse = [point.engine for point in inside if not point.is_dense]
        crowded = max(map(sparse.count, sparse), default=0) > CROWDED
        for point in inside:
            title = f"{workload} on {task}" + (f", {point.arch}" if crowded else "")
            titled.setdefault(title, []).append(point)
    return titled


def _series(points: Sequence[Point]) -> list[list[Point]]:
    """Sparse points of one architecture and method, by rising sparsity."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in sorted(points, key=lambda one: one.sparsity):
        if not point.is_dense:
            found.setdefault((point.arch, point.method), []).append(point)
    return list(found.values())


def _middle(point: Point) -> tuple[float, float]:
    return point.speedup[1], point.change[1]


def _panel(
    axes: Axes,
    *,
    group: Sequence[Point],
    points: Sequence[Point],
    rivals: Sequence[Point],
    looks: Looks,
    sizes: Sizes,
    margin: float,
    against: Against,
) -> None:
    """One engine's points, in the frame of all engines of the workload."""
    axes.axhline(0, color=style.GUIDE, linewidth=0.7, zorder=0.5)
    axes.axvline(1, color=style.GUIDE, linewidth=0.7, zorder=0.5)
    axes.axhspan(-margin, 0.0, color=style.NO_WORSE, linewidth=0, zorder=0)
    scale_axes(axes, group, margin)
    front = pareto_front([(1.0, 0.0), *map(_middle, rivals)])
    mine = {*map(_middle, points), *([(1.0, 0.0)] if against == "speedup" else [])}
    for (x, y), (beyond, below) in pairwise(front):
        if {(x, y), (beyond, below)} <= mine:  # the front passes through this panel
            axes.plot([x, beyond, beyond], [y, y, below], color=style.QUIET, linewidth=0.8,
                      linestyle=DASHED, zorder=1)  # fmt: skip
    axes.plot([1.0], [0.0], marker="+", markersize=8, markeredgewidth=1.2, linestyle="",
              color=style.DENSE, zorder=4.5)  # fmt: skip
    for series in _series(points):
        colour, marker = looks[series[0].method]
        if _rising(series):
            xs, ys = zip(*map(_middle, series), strict=True)
            axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.55, zorder=2)
        for point in series:
            edge: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 1.0}
            draw_mark(axes, point.speedup, point.change, colour, marker,
                      size=sizes[point.sparsity], **(edge if _middle(point) in front else {})
                      )  # fmt: skip
    for point in points:
        if point.is_dense:
            draw_mark(axes, point.speedup, point.change, style.DENSE, hollow=True)
    axes.set_xlabel(AXIS[against])
    axes.set_ylabel(worded(AXIS["change"], word_of(point.metric for point in group)))


def _rising(series: Sequence[Point]) -> bool:
    """Whether it has one point a sparsity, so that a line through them means something."""
    return len({point.sparsity for point in series}) == len(series)


def _labels(axes: Axes, *, points: Sequence[Point], looks: Looks) -> None:
    """Each method at its sparsest point, with the architecture where there are several.

    Of several points of one sparsity each has its label, in a crowded panel the fastest alone.
    """
    several = len({point.arch for point in points}) > 1
    marks = [Mark((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))]
    marks += [Mark(point.speedup, point.change) for point in points if point.is_dense]
    crowded = sum(not point.is_dense for point in points) > CROWDED
    for series in _series(points):
        fastest = max(series, key=lambda point: point.speedup[1])
        for place, point in enumerate(series, 1):
            if _rising(series):
                named = place == len(series)
            else:
                named = point is fastest or not crowded
            text = f"{point.arch} {point.method}" if several else point.method
            text += point.mark
            colour = looks[point.method][0]
            marks.append(Mark(point.speedup, point.change, text if named else "", colour))
    label_marks(axes, marks)


def _legend(
    points: Sequence[Point], looks: Looks, sizes: Sizes, margin: float, against: Against
) -> list[Artist]:
    from matplotlib.patches import Patch

    families = {point.method: point.family for point in points}
    handles = [
        canvas.key(method if families[method] == "unknown" else f"{method} ({families[method]})",
            colour, marker, markeredgecolor="white", markeredgewidth=0.5)
        for method, (colour, marker) in looks.items()
    ]  # fmt: skip
    named = list(sizes)[:: max(1, len(sizes) // 5)] if len(sizes) > 1 else []
    handles += [canvas.key(f"{format_percent(s)}% zeros", marker="o", size=sizes[s]) for s in named]
    if against == "total":
        handles.append(canvas.key("best dense engine", style.DENSE, "+", size=8))
        handles.append(canvas.key("dense, this engine", style.DENSE, "o", hollow=True))
    else:
        handles.append(canvas.key("dense baseline", style.DENSE, "+", size=8))
    handles.append(canvas.key("Pareto front", marker="o", line=DASHED, linewidth=0.8,
                       markeredgecolor="black"))  # fmt: skip
    handles.append(Patch(color=style.NO_WORSE, label=f"no worse: at most {margin:g} pp lost"))
    return handles


def _nothing(note: str, page: canvas.Page) -> Figure:
    """What there would have been, a reason a line."""
    figure = canvas.new_figure(page.width, 1.6)
    reasons = note.replace(", ", "\n") or "the run has no sparse backbone"
    text = f"nothing to plot:\n{reasons}"
    figure.text(0.5, 0.5, text, ha="center", va="center", color="#333333", linespacing=1.6)
    return figure
