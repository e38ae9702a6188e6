"""The tables of a report as plain text with sort keys: HTML and Markdown are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sparsebench.bench.present.report.build import Report
from sparsebench.bench.present.report.cells import Cell
from sparsebench.bench.present.report.runs import RunFacts
from sparsebench.bench.present.tables import Section, numbers, theory
from sparsebench.bench.present.tables.over_tasks import OverTasks
from sparsebench.bench.present.tables.training import HEADER as TRAINING_HEADER
from sparsebench.bench.present.tables.training import training_caption, training_cells
from sparsebench.bench.present.tables.wording import (
    BASELINE,
    BEST_ENGINE,
    CHANGE,
    MINIMUM_EFFECT,
    SAME_ENGINE,
    caption,
    speed_header,
)
from sparsebench.bench.records import Estimate

FACETS = ("run", "workload", "task", "method", "engine")


@dataclass(frozen=True)
class Entry:
    """One field of a table.

    Args:
        text: what it says.
        spread: the interval behind it, in smaller print.
        sort: what its column is sorted by; None goes last. By default the text.
        tone: "better", "worse" or "muted".
    """

    text: str
    spread: str = ""
    sort: float | str | None = ""
    tone: str = ""

    @property
    def key(self) -> str:
        """The sort key as an attribute; empty for a missing value."""
        if self.sort is None:
            return ""
        return self.text if self.sort == "" else str(self.sort)


@dataclass(frozen=True)
class Column:
    """A column: its title, and whether it holds numbers."""

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Line:
    """One row; a facet without a value passes every filter."""

    entries: tuple[Entry, ...]
    facets: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


@dataclass(frozen=True)
class Grid:
    """One table.

    Args:
        title: its heading.
        columns: titles.
        lines: rows.
        notes: sentences below it.
        commands: whether its rows have commands that repeat them.
    """

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    commands: bool = False


def cell_grids(report: Report) -> list[Grid]:
    """One table a run and workload: units differ between workloads, clocks between runs."""
    found = []
    for run in report.runs:
        mine = [cell for cell in report.cells if cell.run == run.label]
        for workload in dict.fromkeys(cell.record.workload for cell in mine):
            group = [cell for cell in mine if cell.record.workload == workload]
            found.append(_cell_grid(run, workload, group, len(report.runs) > 1))
    return found


def _cell_grid(run: RunFacts, workload: str, cells: Sequence[Cell], several: bool) -> Grid:
    sections = [section for section in run.sections if section.workload == workload]
    tasks = len(sections) > 1
    columns = (
        Column("backbone"), *((Column("task"),) if tasks else ()), Column("method"),
        Column("engine"), Column("accuracy %", True), Column(CHANGE, True),
        Column(speed_header(sections[0]), True), Column(SAME_ENGINE, True),
        Column(BEST_ENGINE, True), Column("verdict"), Column(MINIMUM_EFFECT, True),
        *(Column(title, True) for title in theory.HEADER),
    )  # fmt: skip
    settings = dict.fromkeys(section.settings for section in sections if section.rows)
    if len(settings) == 1:
        notes = [f"{next(iter(settings))}."]
    else:
        notes = [f"{section.task}: {section.settings}." for section in sections if section.rows]
    notes.append(caption(sections[0]))
    notes += dict.fromkeys(note for section in sections for note in section.notes)
    return Grid(
        title=", ".join(
            [workload if tasks else f"{workload} on {sections[0].task}"]
            + ([run.label] if several else [])
        ),
        columns=columns,
        lines=tuple(_cell_line(cell, tasks) for cell in cells),
        notes=tuple(notes),
        commands=run.plan is not None,
    )


def _cell_line(cell: Cell, name_task: bool) -> Line:
    record, row = cell.record, cell.row
    trained = record.backbone.trained
    accuracy = row.accuracy if trained else None
    delta = row.delta if trained else None
    seen = row.comparison.smallest_effect if row.comparison else None
    word = row.verdict or ""
    entries = (
        Entry(record.backbone.name),
        *((Entry(record.task.name),) if name_task else ()),
        Entry(record.backbone.method),
        Entry(row.engine),
        spread_entry(numbers.percent(accuracy), accuracy.mean)
        if accuracy
        else Entry(cell.accuracy_text, sort=None, tone="muted"),
        spread_entry(numbers.points(delta), delta.mean)
        if delta
        else Entry(cell.change_text, sort=0.0 if trained and cell.is_dense else None, tone="muted"),
        spread_entry(numbers.speed(row.speed), row.speed.mid),
        Entry(cell.speedup_text, sort=1.0, tone="muted")
        if cell.is_dense
        else ratio_entry(row.speedup, word),
        Entry(cell.total_text, sort=1.0, tone="muted")
        if row.best
        else ratio_entry(row.total, row.total_verdict or ""),
        Entry(word, tone=word if word in ("better", "worse") else "muted"),
        Entry(cell.sees_text, sort=seen),
        *_theory_entries(cell),
    )
    facets = {
        "run": cell.run,
        "workload": record.workload,
        "task": record.task.name,
        "method": record.backbone.method,
        "engine": record.engine.name,
    }
    return Line(entries, facets, cell.command)


def _theory_entries(cell: Cell) -> tuple[Entry, ...]:
    """More errors, bound and share of the bound; empty for a dense cell."""
    told = cell.row.comparison
    if told is None:
        return (Entry("", sort=None),) * len(theory.HEADER)
    sorts = (told.relative_error_increase, told.amdahl_bound, told.efficiency)
    texts = theory.theory_cells(cell.row)
    return tuple(
        Entry(text.partition(" ")[0], text.partition(" ")[2], sort)
        for text, sort in zip(texts, sorts, strict=True)
    )


def spread_entry(pair: tuple[str, str], sort: float) -> Entry:
    """A number with its interval."""
    return Entry(pair[0], pair[1], sort)


def ratio_entry(estimate: Estimate | None, word: str) -> Entry:
    """A ratio with its interval, in the tone of its verdict."""
    if estimate is None:
        return Entry(numbers.DASH, sort=None)
    point, spread = numbers.ratio(estimate)
    tone = word if word in ("better", "worse") else ""
    return Entry(point, f"({spread})", estimate.median, tone)


def training_grids(report: Report) -> list[Grid]:
    """Epochs, time to the target and break-even, where a workload trains step by step."""
    found = []
    for run in report.runs:
        for section in run.sections:
            lines = training_cells(section)
            if lines:
                found.append(_training_grid(run, section, lines, len(report.runs) > 1))
    return found


def _training_grid(
    run: RunFacts, section: Section, cells: Iterable[tuple[str, ...]], several: bool
) -> Grid:
    title = f"training: {section.workload} on {section.task}"
    facets = {"run": run.label, "workload": section.workload, "task": section.task}
    rows = {(row.record.backbone.name, row.engine): row for row in section.rows}
    lines = []
    for backbone, engine, *numbers_of in cells:
        row = rows.get((backbone, engine))
        delta = row.delta if row is not None else None
        change = Entry(BASELINE if row and row.record.backbone.is_dense else numbers.DASH, sort=0.0)
        entries = [Entry(backbone), Entry(engine)]
        for text in numbers_of:  # a ratio of times to the target is one of medians over seeds
            entries.append(Entry(text, numbers.NO_INTERVAL if text.endswith("x") else ""))
        entries.append(spread_entry(numbers.points(delta), delta.mean) if delta else change)
        more = {"engine": row.record.engine.name} if row else {}
        lines.append(Line(tuple(entries), {**facets, **more}))
    columns = [Column(name, place > 1) for place, name in enumerate(TRAINING_HEADER)]
    return Grid(
        title=f"{title}, {run.label}" if several else title,
        columns=(*columns, Column(CHANGE, True)),
        lines=tuple(lines),
        notes=(training_caption(section),),
    )


def mean_grids(report: Report) -> list[Grid]:
    """Geometric means over tasks, beside the worst accuracy change of the tasks."""
    return [
        _mean_grid(run, one, report) for run in report.runs for one in report.over_tasks[run.label]
    ]


def _mean_grid(run: RunFacts, one: OverTasks, report: Report) -> Grid:
    lines = []
    for (backbone, engine), (speedup, total) in one.means.items():
        cells = [
            cell
            for cell in report.cells
            if (cell.run, cell.record.workload, cell.record.backbone.name, cell.record.engine.name)
            == (run.label, one.workload, backbone, engine)
        ]
        known = [(c.row.delta, c.record.task.name) for c in cells if c.row.delta]
        delta, task = min(known, key=lambda pair: pair[0].mean) if known else (None, "")
        facets = {"run": run.label, "workload": one.workload, "engine": engine}
        if cells:
            facets["method"] = cells[0].record.backbone.method
        worst = (
            spread_entry(numbers.points(delta), delta.mean)
            if delta
            else Entry(numbers.DASH, sort=None)
        )
        entries = (
            Entry(backbone), Entry(engine), ratio_entry(speedup, ""), ratio_entry(total, ""), worst,
            Entry(task),
        )  # fmt: skip
        lines.append(Line(entries, facets))
    title = f"{one.workload} over {len(one.tasks)} tasks"
    return Grid(
        title=f"{title}, {run.label}" if len(report.runs) > 1 else title,
        columns=(
            Column("backbone"),
            Column("engine"),
            Column(SAME_ENGINE, True),
            Column(BEST_ENGINE, True),
            Column(f"worst {CHANGE}", True),
            Column("on"),
        ),
        lines=tuple(lines),
        notes=("Geometric means of the tasks' ratios, 95% intervals over tasks.",),
    )
