"""The tables of a report, in the order of its pages: HTML and Markdown are made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sparsebench.bench.decide.licences import NOT_STATED
from sparsebench.bench.present.report.build import Report
from sparsebench.bench.present.report.cross_run import Change
from sparsebench.bench.present.report.runs import RunFacts
from sparsebench.bench.present.report.shown_cells import Cell
from sparsebench.bench.present.table import DASH, Column, Entry, Line, Table
from sparsebench.bench.present.tables.communication import communication_table
from sparsebench.bench.present.tables.decoding import decoding_table
from sparsebench.bench.present.tables.forecasts import forecast_table, total_of
from sparsebench.bench.present.tables.head import head_table
from sparsebench.bench.present.tables.main import change_entry, main_table, ratio_entry
from sparsebench.bench.present.tables.one_off import one_off_table
from sparsebench.bench.present.tables.over_tasks import means_table, profile_table
from sparsebench.bench.present.tables.resources import latency_table, resource_table
from sparsebench.bench.present.tables.rows import Section
from sparsebench.bench.present.tables.training import training_details, training_table
from sparsebench.bench.present.tables.wording import BEST_ENGINE, CHANGE, SAME_ENGINE
from sparsebench.bench.tasks.kinds import word_of, worded

FACETS = ("run", "workload", "task", "method", "engine")
_OF_SECTIONS: tuple[Callable[[Section], Table | None], ...] = (
    training_table, training_details, communication_table, head_table, decoding_table,
    latency_table, resource_table, one_off_table,
)  # fmt: skip


def cell_tables(report: Report) -> list[Table]:
    """One table a run and workload: units differ between workloads, clocks between runs."""
    found = []
    for run in report.runs:
        told = [section for section in run.sections if section.rows]
        for workload in dict.fromkeys(section.workload for section in told):
            mine = [section for section in told if section.workload == workload]
            title = workload if len(mine) > 1 else f"{workload} on {mine[0].task}"
            commands = {c.record.id: c.command for c in report.cells if c.run == run.label}
            table = main_table(title, mine, commands if run.plan is not None else None)
            found.append(_placed(table, run, report))
    return found


def more_tables(report: Report) -> list[Table]:
    """Means over tasks, and what else the rows tell: one table each, where told."""
    found = [
        (make(one), run) for run in report.runs for one in report.over_tasks[run.label]
        for make in (means_table, profile_table)
    ]  # fmt: skip
    for make in _OF_SECTIONS:
        found += [
            (table, run) for run in report.runs for section in run.sections
            if (table := make(section)) is not None
        ]  # fmt: skip
    found += [
        (table, run) for run in report.runs
        if (table := forecast_table(run.sections, total_of(run.records, run.blocks))) is not None
    ]  # fmt: skip
    return [_placed(table, run, report) for table, run in found if table.lines]


def _placed(table: Table, run: RunFacts, report: Report) -> Table:
    """The table as one of its run's: of several runs the title names it."""
    lines = (replace(line, facets={"run": run.label, **line.facets}) for line in table.lines)
    title = f"{table.title}, {run.label}" if len(report.runs) > 1 else table.title
    return replace(table, title=title, lines=tuple(lines))


def every_table(report: Report) -> list[Table]:
    """All tables that have a line."""
    metadata = (beside_table, difference_table, problem_table, engine_table, weight_table)
    found = [*cell_tables(report), *more_tables(report), *(make(report) for make in metadata)]
    return [table for table in found if table.lines]


def beside_table(report: Report) -> Table:
    """Cells of several runs: ratios and accuracy changes, no times."""
    labels = [run.label for run in report.runs]
    cells = (cell for one in report.beside for cell in one.cells if cell is not None)
    change_title = worded(CHANGE, word_of(cell.record.task.metric for cell in cells))
    columns = [Column("backbone"), Column("task"), Column("workload"), Column("engine")]
    for label in labels:
        columns.append(Column(f"{label}: {SAME_ENGINE}", True))
        columns += [Column(f"{label}: over the first", True)] if label != labels[0] else []
        columns.append(Column(f"{label}: {change_title}", True))
        columns.append(Column(f"{label}: {BEST_ENGINE}", True, minor=True))
    lines = []
    for one in report.beside:
        workload, task, backbone, engine = one.key
        entries = [Entry(backbone), Entry(task), Entry(workload), Entry(engine)]
        for place, (cell, change) in enumerate(zip(one.cells, one.changes, strict=True)):
            speedup, points, total = _beside(cell)
            entries += [speedup, *([_change(cell, change)] if place else []), points, total]
        method = next(cell for cell in one.cells if cell is not None).record.backbone.method
        facets = {"workload": workload, "task": task, "method": method}
        lines.append(Line(tuple(entries), {**facets, "engine": engine.split()[0]}))
    return Table(
        "The same cells in several runs",
        tuple(columns),
        tuple(lines),
        (
            "Each ratio was measured inside its own run, against its own dense baseline; times of "
            "different runs are never divided. 'Over the first': the speed-up on the same engine "
            "over that of the first run that has the cell; above 1, the zeros gain more here.",
        ),
    )


def _beside(cell: Cell | None) -> list[Entry]:
    if cell is None:
        return [Entry("not in it", sort=None, tone="muted"), *[Entry("", sort=None)] * 2]
    row = cell.row
    return [
        ratio_entry(row.speedup, row.verdict or ""),
        change_entry(row),
        ratio_entry(row.total, row.total_verdict or ""),
    ]


def _change(cell: Cell | None, change: Change | None) -> Entry:
    if cell is None or change is None:
        return Entry("", sort=None)
    if change.ratio is None:
        what = ", ".join(change.differs)
        return Entry(f"not compared: {what or 'no speed-up'}", sort=None, tone="muted")
    made = ratio_entry(change.ratio, change.verdict or "")
    return replace(made, spread=f"{made.spread} {change.verdict}")


def difference_table(report: Report) -> Table:
    """What is not the same in all runs."""
    header = ("what", *(run.label for run in report.runs))
    rows = ((one.what, *one.values) for one in report.differences)
    return Table.of("What differs", header, rows, words=len(header))


def problem_table(report: Report) -> Table:
    """Every discarded or failed cell or trial with its reason."""
    several = len(report.runs) > 1
    header = ("run", "outcome", "cell", "workload", "task", "reason")
    made = Table.of(
        "Discarded and failed",
        header[not several :],
        (
            (one.run, one.fate, one.what, one.workload or "several", one.task or "several",
             one.reason)[not several :]
            for one in report.problems
        ),
        words=len(header),
    )  # fmt: skip
    lines = tuple(
        replace(line, facets={facet: getattr(one, facet) for facet in FACETS})
        for line, one in zip(made.lines, report.problems, strict=True)
    )
    return replace(made, lines=lines)


def engine_table(report: Report) -> Table:
    """Licences and support of the engines."""
    may = {None: Entry("not stated", tone="muted"), True: Entry("allowed"),
           False: Entry("not allowed", tone="worse")}  # fmt: skip
    return Table.of(
        "Engines: licence and support",
        ("engine", "version", "licence", "production", "support", "cells"),
        (
            (one.name, ", ".join(one.versions) or DASH, one.licence or NOT_STATED,
             may[one.production], one.support or NOT_STATED, str(one.cells))
            for one in report.engines
        ),
        *(one.warning for one in report.engines if one.warning),
        words=5,
    )  # fmt: skip


def weight_table(report: Report) -> Table:
    """Licences of the weights."""
    header = ("backbone", "licence")
    return Table.of("Weights: licence", header, sorted(report.weights.items()), words=2)
