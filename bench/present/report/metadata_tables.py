"""The tables beside those of the cells: several runs, what failed, licences."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.bench.decide.licences import NOT_STATED
from sparsebench.bench.present.report.build import Report
from sparsebench.bench.present.report.cells import Cell, ratio_text
from sparsebench.bench.present.report.cross_run import Change
from sparsebench.bench.present.report.grids import (
    FACETS,
    Column,
    Entry,
    Grid,
    Line,
    ratio_entry,
    spread_entry,
)
from sparsebench.bench.present.tables import Section, forecasts, head, numbers, resources
from sparsebench.bench.present.tables.one_off import CAPTION, HEADER, one_off_cells
from sparsebench.bench.present.tables.resources import (
    LATENCY_CAPTION,
    LATENCY_HEADER,
    latency_cells,
    resource_cells,
)
from sparsebench.bench.present.tables.training import DETAILS, DETAILS_CAPTION, detail_cells
from sparsebench.bench.present.tables.wording import BEST_ENGINE, CHANGE, SAME_ENGINE


def beside_grid(report: Report) -> Grid:
    """Cells of several runs: ratios and accuracy changes, no times."""
    labels = [run.label for run in report.runs]
    columns = [Column("backbone"), Column("task"), Column("workload"), Column("engine")]
    for label in labels:
        columns.append(Column(f"{label}: {SAME_ENGINE}", True))
        columns += [Column(f"{label}: over the first", True)] if label != labels[0] else []
        columns.append(Column(f"{label}: {CHANGE}", True))
        columns.append(Column(f"{label}: {BEST_ENGINE}", True))
    lines = []
    for one in report.beside:
        workload, task, backbone, engine = one.key
        entries = [Entry(backbone), Entry(task), Entry(workload), Entry(engine)]
        for place, (cell, change) in enumerate(zip(one.cells, one.changes, strict=True)):
            speedup, points, total = _beside(cell)
            entries += [speedup, *([_change(cell, change)] if place else []), points, total]
        known = next(cell for cell in one.cells if cell is not None)
        facets = {
            "workload": workload,
            "task": task,
            "method": known.record.backbone.method,
            "engine": known.record.engine.name,
        }
        lines.append(Line(tuple(entries), facets))
    return Grid(
        title="The same cells in several runs",
        columns=tuple(columns),
        lines=tuple(lines),
        notes=(
            "Each ratio was measured inside its own run, against its own dense baseline; times of "
            "different runs are never divided. 'Over the first': the speed-up on the same engine "
            "over that of the first run that has the cell; above 1, the zeros gain more here.",
        ),
    )


def _beside(cell: Cell | None) -> list[Entry]:
    if cell is None:
        return [Entry("not in it", sort=None, tone="muted"), *[Entry("", sort=None)] * 2]
    row = cell.row
    change = (
        spread_entry(numbers.points(row.delta), row.delta.mean)
        if row.delta and cell.record.backbone.trained
        else Entry(cell.change_text, sort=None, tone="muted")
    )
    return [
        ratio_entry(row.speedup, row.verdict or ""),
        change,
        ratio_entry(row.total, row.total_verdict or ""),
    ]


def _change(cell: Cell | None, change: Change | None) -> Entry:
    if cell is None or change is None:
        return Entry("", sort=None)
    if change.ratio is None:
        what = ", ".join(change.differs)
        return Entry(f"not compared: {what or 'no speed-up'}", sort=None, tone="muted")
    text = ratio_text(change.ratio)
    return Entry(f"{text} {change.verdict}", sort=change.ratio.median, tone=change.verdict or "")


def small_grids(report: Report) -> list[Grid]:
    """Trainings, heads, latency, resources, what is paid once: one small table each, where told."""
    found = []
    for title, header, cells_of, caption in (
        ("details of the training", DETAILS, detail_cells, DETAILS_CAPTION),
        ("heads", head.HEADER, head.head_cells, head.CAPTION),
        ("latency", LATENCY_HEADER, latency_cells, LATENCY_CAPTION),
        ("memory, disk, energy", resources.HEADER, resource_cells, resources.CAPTION),
        ("one-off costs", HEADER, one_off_cells, CAPTION),
    ):
        for run in report.runs:
            for section in run.sections:
                cells = cells_of(section)
                if cells:
                    where = f"{title}: {section.workload} on {section.task}"
                    several = len(report.runs) > 1
                    named = f"{where}, {run.label}" if several else where
                    found.append(_small(run.label, section, named, header, cells, caption))
    return found


def _small(
    run: str,
    section: Section,
    title: str,
    header: Sequence[str],
    cells: Sequence[tuple[str, ...]],
    caption: str,
) -> Grid:
    facets = {"run": run, "workload": section.workload, "task": section.task}
    lines = [
        Line(tuple(map(_entry, row)), {**facets, "engine": row[1].split()[0]}) for row in cells
    ]
    columns = tuple(Column(name, n > 1) for n, name in enumerate(header))
    return Grid(title, columns, tuple(lines), (caption,))


def _entry(text: str) -> Entry:
    """Text that sorts as the number it begins with, where it does."""
    number = text.split(" ")[0].rstrip("×")
    return Entry(text, sort=float(number)) if number.replace(".", "").isdigit() else Entry(text)


def forecast_grids(report: Report) -> list[Grid]:
    """What was predicted before each run beside what it measured."""
    found = []
    for run in report.runs:
        cells = forecasts.foreseen(run.sections)
        if not cells:
            continue
        lines = [
            Line(
                (
                    *map(Entry, one.cells()[:4]),
                    Entry(f"{one.predicted:.3g}", sort=one.predicted),
                    Entry(f"{one.measured:.3g}", sort=one.measured),
                    Entry(f"{one.ratio:.2f}", sort=one.ratio),
                    Entry(one.basis),
                ),
                {"run": run.label, "workload": one.workload, "task": one.task,
                 "engine": one.engine.split()[0]},
            )
            for one in cells
        ]  # fmt: skip
        words = forecasts.total_of(run.records, run.blocks).words()
        title = "Forecast and measurement"
        found.append(
            Grid(
                title=f"{title}, {run.label}" if len(report.runs) > 1 else title,
                columns=tuple(Column(n, 4 <= i < 7) for i, n in enumerate(forecasts.HEADER)),
                lines=tuple(lines),
                notes=(forecasts.CAPTION, *([words] if words else [])),
            )
        )
    return found


def difference_grid(report: Report) -> Grid:
    """What is not the same in all runs."""
    columns = (Column("what"), *(Column(run.label) for run in report.runs))
    lines = tuple(
        Line((Entry(one.what), *(Entry(value) for value in one.values)))
        for one in report.differences
    )
    return Grid("What differs", columns, lines)


def problem_grid(report: Report) -> Grid:
    """Every discarded or failed cell or trial with its reason."""
    several = len(report.runs) > 1
    columns = (
        *((Column("run"),) if several else ()),
        Column("what became of it"), Column("what"), Column("workload"), Column("task"),
        Column("reason"),
    )  # fmt: skip
    lines = tuple(
        Line(
            (
                *((Entry(one.run),) if several else ()),
                Entry(one.fate), Entry(one.what), Entry(one.workload or "several"),
                Entry(one.task or "several"), Entry(one.reason),
            ),
            {facet: getattr(one, facet) for facet in FACETS},
        )
        for one in report.problems
    )  # fmt: skip
    return Grid("Discarded and failed", columns, lines)


def engine_grid(report: Report) -> Grid:
    """Licences and support of the engines."""
    columns = (
        Column("engine"), Column("version"), Column("licence"), Column("production"),
        Column("support"), Column("cells", True),
    )  # fmt: skip
    lines = tuple(
        Line(
            (
                Entry(one.name), Entry(", ".join(one.versions) or numbers.DASH),
                Entry(one.licence or NOT_STATED),
                Entry("not stated", tone="muted")
                if one.production is None
                else Entry("allowed" if one.production else "not allowed",
                           tone="" if one.production else "worse"),
                Entry(one.support or NOT_STATED), Entry(str(one.cells), sort=one.cells),
            ),
            {"engine": one.name},
        )
        for one in report.engines
    )  # fmt: skip
    warnings = tuple(one.warning for one in report.engines if one.warning)
    return Grid("Engines: licence and support", columns, lines, warnings)


def weight_grid(report: Report) -> Grid:
    """Licences of the weights."""
    lines = tuple(
        Line((Entry(name), Entry(licence))) for name, licence in sorted(report.weights.items())
    )
    return Grid("Weights: licence", (Column("backbone"), Column("licence")), lines)
