"""Rows of the tables: what is known of a cell and of its comparison, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparsebench.bench.comparisons import (
    GENERATED,
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
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.gaps import said_once
from sparsebench.bench.present.tables.own_head import own_head_notes
from sparsebench.bench.records import Accuracy, Comparison, Delta, Estimate, Record, Trial
from sparsebench.bench.statistics import Interval
from sparsebench.bench.tasks.kinds import word_of
from sparsebench.models.cpus import threads_text

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
        settings=_shared_settings(group, varying, times),
        throughput=described(first.workload).unit == PER_SECOND,
        caption=described(first.workload).caption,
        rows=rows,
        missing=tuple(_missing(ordered, compared, varying)),
        notes=(*own_head_notes(group), *_hurdles(rows), *_notes(rows)),
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


_SETTINGS = ("device", "precision", "threads", "batch_size", "size")


def _setting(record: Record, key: str) -> object:
    return record.settings.get("size") if key == "size" else getattr(record.engine, key)


def varying_settings(group: Sequence[Record]) -> list[str]:
    """Settings that are not the same for all records, which a cell's name must then tell."""
    return [key for key in _SETTINGS if len({_setting(record, key) for record in group}) > 1]


def _in_words(key: str, value: object) -> str:
    if key == "threads":
        return threads_text(str(value))
    return {"batch_size": f"batch {value}", "size": f"{value} px"}.get(key, str(value))


def engine_label(record: Record, varying: Sequence[str]) -> str:
    """The engine's name, with those settings that are not the same in the whole table."""
    settings = [_in_words(key, _setting(record, key)) for key in varying]
    return " ".join([record.engine.label, *settings])


def _shared_settings(
    group: Sequence[Record], varying: Sequence[str], times: Mapping[str, CellTimes]
) -> str:
    first = group[0]
    words = [
        _in_words(key, _setting(first, key))
        for key in _SETTINGS
        if key not in varying and _setting(first, key) is not None
    ]
    counts = sorted({len(times[record.id].blocks) for record in group if record.id in times})
    if counts:
        blocks = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
        words.append(f"{blocks} block" if counts == [1] else f"{blocks} blocks")
    task = first.task
    if task.train is not None and task.test is not None:
        words.append(f"{task.train:,} training and {task.test:,} test images")
    return ", ".join(words)


def _missing(
    group: Sequence[Record], compared: Mapping[str, Comparison], varying: Sequence[str]
) -> list[tuple[str, str]]:
    failed = {record.id for record in group if record.status != "ok"}
    missing = []
    for record in group:
        name = f"{record.backbone.name} on {engine_label(record, varying)}"
        comparison = compared.get(record.id)
        if record.status != "ok":
            missing.append((name, f"{record.status}: {record.reason}"))
        elif comparison is not None and comparison.status != "ok":
            known = comparison.dense in failed  # its own line says why
            reason = "its dense baseline was not measured" if known else comparison.reason
            missing.append((name, f"no comparison: {reason}"))
    return missing


def _hurdles(rows: Sequence[Row]) -> list[str]:
    """The best dense options, each named: of all precisions, and of fp32 alone."""
    dense = {row.record.id: row for row in rows if row.record.backbone.is_dense}
    found = []
    for best in (row for row in dense.values() if row.best):
        mine = [
            (row, compared, dense[compared.best_fp32_dense])
            for row in rows
            if (compared := row.comparison) is not None
            and compared.best_dense == best.record.id
            and compared.total_fp32 is not None
            and compared.best_fp32_dense in dense
        ]
        told = [(compared.total_fp32, row, fp32) for row, compared, fp32 in mine]
        if not told:
            continue
        ratio, row, fp32 = max(told, key=lambda one: one[0].median if one[0] else 0.0)
        name = f"{best.record.backbone.name} on {best.engine}"
        if fp32 is best or ratio is None:
            found.append(f"Best dense, in fp32 too: {name}.")
            continue
        point, spread = numbers.ratio(ratio)
        found.append(
            f"Best dense: {name}. Best fp32 dense: {fp32.record.backbone.name} on {fp32.engine}; "
            f"{row.record.backbone.name} on {row.engine} is {point} ({spread}) as fast as that."
        )
    return found


def _notes(rows: Sequence[Row]) -> list[str]:
    """Each caveat once, with the cells it is about, unless it is about most of them."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for note in row.comparison.notes if row.comparison else ():
            if note != GENERATED:  # the table says so itself
                about.setdefault(note, []).append(f"{row.record.backbone.name} on {row.engine}")
    return [f"{note} ({_first_few(cells)})" for note, cells in about.items()]


def _first_few(cells: Sequence[str], most: int = 3) -> str:
    return ", ".join(cells) if len(cells) <= most else f"{len(cells)} cells"
