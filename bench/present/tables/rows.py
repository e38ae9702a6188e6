"""Rows of the tables: what is known of a cell and of its comparison, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparsebench.bench.comparisons import (
    CellTimes,
    best_dense,
    by_cell,
    indexed,
    run_times,
)
from sparsebench.bench.comparisons.accuracy_change import accuracy_of
from sparsebench.bench.comparisons.dense import dense_totals
from sparsebench.bench.comparisons.training import own_training
from sparsebench.bench.plan.workloads import described
from sparsebench.bench.present.table import Entry, Table
from sparsebench.bench.present.tables.cell_labels import (
    engine_label,
    shared_settings,
    varying_settings,
)
from sparsebench.bench.present.tables.gaps import said_once
from sparsebench.bench.present.tables.own_head import own_head_notes
from sparsebench.bench.present.tables.section_notes import caveats, hurdles, missing_cells
from sparsebench.bench.records import Accuracy, Comparison, Delta, Estimate, Record, Trial
from sparsebench.bench.statistics import Interval
from sparsebench.bench.tasks.kinds import word_of

PER_SECOND = "images/s"


@dataclass(frozen=True)
class Row:
    """One measured cell.

    Args:
        record: the cell.
        comparison: of a sparse cell; None for a dense one.
        engine: the engine with those settings that vary in the table.
        accuracy: its own or its training workload's; None where unknown.
        delta: change against the dense baseline.
        speed: images a second or seconds, with interval.
        speedup: against the dense baseline on the same engine; None for a dense cell.
        total: against the best dense engine; None for the reference itself.
        verdict: of the speed-up, corrected over the run; for a dense cell None.
        total_verdict: of the total, corrected too; None for the reference.
        reference: whether totals of its backbone are against it, the fastest dense cell.
        training: epochs and target of step-by-step training, both sides as in
            `Comparison.training`, of which :meth:`of_training` is its own; else None.
    """

    record: Record
    comparison: Comparison | None
    engine: str
    accuracy: Accuracy | None
    delta: Delta | None
    speed: Interval
    speedup: Estimate | None
    total: Estimate | None
    verdict: str | None
    total_verdict: str | None
    reference: bool
    training: Mapping[str, Any] | None = None

    @property
    def best(self) -> bool:
        """Whether it is the best dense cell; no cell is without an interval."""
        return self.reference and self.speed.ci95 is not None

    def of_training(self, key: str) -> Any:
        """Its own side of a fact of its training; None where unknown."""
        side = "dense" if self.record.backbone.is_dense else "sparse"
        return ((self.training or {}).get(key) or {}).get(side)

    @property
    def total_fp32(self) -> Estimate | None:
        """Against the best dense engine of those that compute in fp32; None for a dense cell."""
        return None if self.comparison is None else self.comparison.total_fp32

    @property
    def arch(self) -> str:
        """Architecture."""
        return self.record.backbone.arch


@dataclass(frozen=True)
class Section:
    """One table: the rows of a workload on a task.

    Args:
        workload: of all rows.
        task: of all rows.
        settings: what all rows share, in words.
        throughput: whether speeds are images a second (else seconds).
        caption: what its speeds are.
        rows: by architecture, dense first, then by sparsity.
        missing: cells and comparisons without numbers: (name, reason).
        notes: caveats, each with the backbones and engines it is about.
    """

    workload: str
    task: str
    settings: str
    throughput: bool
    caption: str
    rows: tuple[Row, ...]
    missing: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def word(self) -> str:
        """What the scores of its rows are called."""
        return word_of(row.record.task.metric for row in self.rows)


def facets_of(section: Section, row: Row) -> dict[str, str]:
    """By which a page filters a row's line."""
    return {
        "workload": section.workload, "task": section.task,
        "method": row.record.backbone.method, "engine": row.record.engine.name,
    }  # fmt: skip


def row_table(
    section: Section,
    what: str,
    header: Sequence[str],
    cells_of: Callable[[Row], Sequence[str | Entry] | None],
    *notes: str,
) -> Table | None:
    """A table of a section that says more of its rows; None where it has nothing to say.

    Args:
        section: the rows.
        what: its title begins with this.
        header: titles of the columns after backbone and engine.
        cells_of: what stands in them; None leaves a row out.
        notes: sentences below it.
    """
    told = [(row, cells) for row in section.rows if (cells := cells_of(row)) is not None]
    if not told:
        return None
    names = [(row.record.backbone.name, row.engine) for row, _ in told]
    made = Table.of(
        f"{what}: {section.workload} on {section.task}",
        ("backbone", "engine", *header),
        [(*name, *cells) for name, (_, cells) in zip(names, told, strict=True)],
        *notes,
        words=2,
    )
    lines = zip(made.lines, told, strict=True)
    return said_once(
        replace(
            made,
            lines=tuple(replace(line, facets=facets_of(section, row)) for line, (row, _) in lines),
        )
    )


def sections(
    records: Sequence[Record], trials: Sequence[Trial], comparisons: Sequence[Comparison]
) -> list[Section]:
    """All tables of a run, in the order in which the records name workloads and tasks."""
    records, times = indexed(records), run_times(records, by_cell(trials))
    compared = {comparison.sparse: comparison for comparison in comparisons}
    totals = dense_totals(records, times)
    groups: dict[tuple[str, str, str | None], list[Record]] = {}
    for record in records:
        key = (record.workload, record.task.name, record.task.sha256)
        groups.setdefault(key, []).append(record)
    return [_section(group, records, times, compared, totals) for group in groups.values()]


def _section(
    group: Sequence[Record],
    records: Sequence[Record],
    times: Mapping[str, CellTimes],
    compared: Mapping[str, Comparison],
    totals: Mapping[str, tuple[Estimate, str | None]],
) -> Section:
    varying = varying_settings(group)
    ordered = sorted(group, key=lambda r: (r.backbone.arch, not r.backbone.is_dense,
                                           r.backbone.zeros, r.backbone.name))  # fmt: skip
    rows = tuple(
        _row(record, records, times, compared.get(record.id), varying, totals)
        for record in ordered
        if record.id in times
    )
    first = group[0]
    return Section(
        workload=first.workload,
        task=first.task.name,
        settings=shared_settings(group, varying, times),
        throughput=described(first.workload).unit == PER_SECOND,
        caption=described(first.workload).caption,
        rows=rows,
        missing=tuple(missing_cells(ordered, compared, varying)),
        notes=(*own_head_notes(group), *hurdles(rows), *caveats(rows)),
    )


def _row(
    record: Record,
    records: Sequence[Record],
    times: Mapping[str, CellTimes],
    comparison: Comparison | None,
    varying: Sequence[str],
    totals: Mapping[str, tuple[Estimate, str | None]],
) -> Row:
    accuracy = accuracy_of(record, records)
    total: Estimate | None = None
    total_verdict: str | None = None
    reference = False
    if comparison is not None:
        total, total_verdict = comparison.total, comparison.total_verdict
    elif record.backbone.is_dense:
        reference = best_dense(record, records, times) is record
        total, total_verdict = totals.get(record.id, (None, None))
    return Row(
        record=record,
        comparison=comparison,
        engine=engine_label(record, varying),
        accuracy=None if accuracy is None else accuracy[0],
        delta=None if comparison is None else comparison.accuracy_delta,
        speed=_speed(record, times[record.id]),
        speedup=None if comparison is None else comparison.speedup,
        total=total,
        verdict=None if comparison is None else comparison.verdict,
        total_verdict=total_verdict,
        reference=reference,
        training=(comparison and comparison.training) or own_training(record, records),
    )


def _speed(record: Record, times: CellTimes) -> Interval:
    """Images a second, or seconds of a whole trial."""
    level = times.level
    if described(record.workload).unit == PER_SECOND:
        return Interval(1 / level.mid, 1 / level.high, _over(level.low), level.count)
    items = record.trials[0].items if record.trials else 1
    return level.scaled(items)


def _over(value: float) -> float:
    return float("inf") if value == 0 else 1 / value
