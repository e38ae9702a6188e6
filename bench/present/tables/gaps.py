"""Numbers without an interval: a table says so once, in a note, not in every entry."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.bench.present.table import Column, Entry, Line, Table
from sparsebench.bench.present.tables.numbers import NO_INTERVAL
from sparsebench.bench.statistics.ratios import LEAST_BLOCKS

MARK = "*"
WHY = (
    f"Of times that takes {LEAST_BLOCKS} blocks (--repeats {LEAST_BLOCKS} or more), of accuracies "
    "two training seeds. What has none shows nothing and wins nothing."
)


def said_once(table: Table) -> Table:
    """The same table with one note in place of each "no interval".

    The note names the columns in which no number has an interval; a mark stands at the numbers
    without one where others of their column have it.
    """
    whole: list[tuple[int, Column]] = []
    part: list[tuple[int, Column]] = []
    for place, column in enumerate(table.columns):
        spreads = [line.entries[place] for line in table.lines if line.entries[place].spread]
        if any(map(_is_gap, spreads)):
            (whole if all(map(_is_gap, spreads)) else part).append((place, column))
    if not whole and not part:
        return table
    marks = {place: "" for place, _ in whole} | {place: MARK for place, _ in part}
    named = [repr(column.title) for _, column in whole if not column.minor]
    where = [f"in {', '.join(named)}"] if named else []
    where += [f"where a {MARK} stands"] if part else []
    return replace(
        table,
        lines=tuple(_marked(line, marks) for line in table.lines),
        notes=(*table.notes, f"No interval {' and '.join(where)}. {WHY}"),
    )


def _marked(line: Line, marks: dict[int, str]) -> Line:
    return replace(
        line,
        entries=tuple(
            replace(entry, spread=marks[place]) if _is_gap(entry) else entry
            for place, entry in enumerate(line.entries)
        ),
    )


def _is_gap(entry: Entry) -> bool:
    return entry.spread.strip("()") == NO_INTERVAL
