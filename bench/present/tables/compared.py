"""`sparsebench compare` as a table."""

from __future__ import annotations

from sparsebench.bench.comparisons import ComparisonOfRuns
from sparsebench.bench.present.table import DASH, Entry, Table
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.gaps import said_once
from sparsebench.bench.present.tables.wording import CHANGE
from sparsebench.bench.tasks.kinds import word_of, worded


def compared_table(result: ComparisonOfRuns) -> Table:
    """The cells of both sides, what only one has, and how to read it."""
    rows = []
    for cell in result.cells:
        change = cell.accuracy_change
        words = cell.verdict or (cell.status if cell.status != "ok" else "dense")
        rows.append(
            (
                cell.cell,
                Entry(*numbers.ratio(cell.ratio)) if cell.ratio else DASH,
                Entry(*numbers.points(change)) if change else DASH,
                Entry(words, tone=cell.verdict or ""),
            )
        )
    word = word_of(cell.metric for cell in result.cells)
    header = ("cell", f"ratio of {result.of}", worded(CHANGE, word), "verdict")
    notes = [f"{cell.cell}: {cell.reason}" for cell in result.cells if cell.reason]
    for name, only in ((result.a, result.only_a), (result.b, result.only_b)):
        notes += [f"Only in {name}: {', '.join(only)}."] if only else []
    title = f"{result.b} against {result.a}"
    return said_once(Table.of(title, header, rows, *notes, *result.notes))
