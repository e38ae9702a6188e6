"""What the figure of speed-up against accuracy shows, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sparsebench.bench.comparisons import (
    best_dense,
    by_cell,
    dense_against_best,
    indexed,
    run_times,
)
from sparsebench.bench.present import escape
from sparsebench.bench.present.plots.data import ALL, LeftOut, Selection, engine_label
from sparsebench.bench.present.plots.marks import Span, span
from sparsebench.bench.records import Comparison, Estimate, Record, Trial
from sparsebench.bench.statistics import RatioEstimate

Against = Literal["total", "speedup"]
UNITY = RatioEstimate(1.0, 1.0, 1.0, 1, 0.0)


@dataclass(frozen=True)
class Point:
    """One cell in the figure.

    Args:
        workload: of its panel.
        task: of its panel.
        arch: architecture.
        method: of pruning; "dense" for a dense cell.
        sparsity: fraction 0-1.
        engine: engine, with device and precision where they are not cpu and fp32.
        speedup: low, point, high.
        change: accuracy change in points: low, point, high.
        family: of the method.
        mark: behind its label, where its dense baseline had another training budget.
        metric: of its task; None where unknown.
    """

    workload: str
    task: str
    arch: str
    method: str
    sparsity: float
    engine: str
    speedup: Span
    change: Span
    family: str = "unknown"
    mark: str = ""
    metric: str | None = None

    @property
    def is_dense(self) -> bool:
        """Whether it is a dense cell, whose accuracy change is 0 by definition."""
        return self.method == "dense"


@dataclass(frozen=True)
class PointSet:
    """Points, and how many cells could not become one."""

    points: tuple[Point, ...] = ()
    records: tuple[Record, ...] = ()
    untrained: int = 0
    incomplete: int = 0
    without_interval: int = 0

    def __add__(self, other: PointSet) -> PointSet:
        return PointSet(
            self.points + other.points,
            self.records + other.records,
            self.untrained + other.untrained,
            self.incomplete + other.incomplete,
            self.without_interval + other.without_interval,
        )

    def left_out(self) -> str:
        """In words, what is not shown and why; empty if nothing is."""
        reasons = {
            "with generated weights (speed only)": self.untrained,
            "without a speed-up or an accuracy change": self.incomplete,
            "without a confidence interval (one block or seed)": self.without_interval,
        }
        return str(LeftOut({why: count for why, count in reasons.items() if count}))


def points_of(
    records: Sequence[Record],
    comparisons: Sequence[Comparison],
    trials: Sequence[Trial] = (),
    against: Against = "total",
    selection: Selection = ALL,
) -> PointSet:
    """The points of a run.

    Only trained backbones with a speed-up and an accuracy change, both with intervals: a time
    without an accuracy is incomplete, and a point without an interval says nothing. The dense
    cells of other engines than the best are points without accuracy change.

    Args:
        records: of the run.
        comparisons: of the run.
        trials: for the dense cells, where the records do not carry them.
        against: "total" for the best dense engine, "speedup" for the same engine.
        selection: which cells to show; ratios are taken against all of the run all the same.
    """
    by_id = {record.id: record for record in records}
    result = PointSet()
    for comparison in comparisons:
        if selection.holds(by_id[comparison.sparse]):
            result += _one(comparison, by_id[comparison.sparse], against)
    shown = {(p.workload, p.task, p.arch) for p in result.points}
    dense = _dense_points(records, trials, selection) if against == "total" else []
    return result + PointSet(
        tuple(point for point in dense if (point.workload, point.task, point.arch) in shown)
    )


def _one(comparison: Comparison, sparse: Record, against: Against) -> PointSet:
    if not comparison.trained:
        return PointSet(untrained=1)
    ratio = comparison.total if against == "total" else comparison.speedup
    change = comparison.accuracy_delta
    if ratio is None or change is None:
        return PointSet(incomplete=1)
    if ratio.ci95 is None or change.ci95 is None:
        return PointSet(without_interval=1)
    change_span = span(change.mean, change.ci95)
    point = replace(_point(sparse, ratio, change_span), mark=change.mark)
    return PointSet((point,), (sparse,))


def _dense_points(
    records: Sequence[Record], trials: Sequence[Trial], selection: Selection
) -> list[Point]:
    """Dense cells against the best dense engine of their backbone; that one itself at 1."""
    records, times = indexed(records), run_times(records, by_cell(trials))
    points = []
    for record in records:
        backbone = record.backbone
        if not (backbone.is_dense and backbone.trained) or record.id not in times:
            continue
        if not selection.holds(record):
            continue
        best = best_dense(record, records, times)
        if best is record:
            ratio = UNITY if times[record.id].is_enough else None
        else:
            ratio = dense_against_best(record, records, times)
        if ratio is not None and ratio.ci95 is not None:
            stored = Estimate(ratio.median, ratio.ci95, ratio.blocks)
            points.append(_point(record, stored, (0.0, 0.0, 0.0)))
    return points


def _point(record: Record, ratio: Estimate, change: Span) -> Point:
    return Point(
        workload=record.workload,
        task=escape.visible(record.task.name),
        arch=escape.visible(record.backbone.arch),
        method=escape.visible(record.backbone.method),
        sparsity=round(record.backbone.zeros, 3),
        engine=engine_label(record),
        speedup=span(ratio.median, ratio.ci95),
        change=change,
        metric=record.task.metric,
        family=record.backbone.family,
    )
