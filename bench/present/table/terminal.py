"""A table on a terminal: as wide as the console allows, names whole, nothing by colour alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from sparsebench.bench.present import escape
from sparsebench.bench.present.table.model import Column, Entry, Line, Table

STYLES = {
    "better": "green", "worse": "red", "tied": "cyan", "inconclusive": "yellow", "bad": "bold red",
    "new": "cyan",
}  # fmt: skip
LEAST = 3
NAME = 32
"""Characters of a name that a column keeps whole as long as others can give way."""


def terminal(table: Table) -> RenderableType:
    """The title, the table and its notes.

    Where a line is too long for the console, intervals go below their numbers, or the first
    column above its line; after that words fold.
    """
    parts: list[RenderableType] = [_Body(table.filled(minor=False))] if table.lines else []
    if table.title:
        parts.insert(0, Text(escape.visible(table.title), style="bold"))
    return Group(*parts, *(Text(escape.visible(note), style="dim") for note in table.notes))


Joined = Callable[[Entry], Text]


def _beside(entry: Entry) -> Text:
    return Text(escape.visible(entry.whole), style=STYLES.get(entry.tone, ""))


def _below(entry: Entry) -> Text:
    parts = filter(None, (entry.text, entry.spread))
    return Text("\n".join(map(escape.visible, parts)), style=STYLES.get(entry.tone, ""))


@dataclass(frozen=True)
class _Body:
    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self.table
        layouts = [(_beside, True), (_below, True)]
        if not table.grouped:
            layouts = [(_beside, False), (_beside, True), (_below, False), (_below, True)]
        for joined, above in layouts:
            columns, room = table.columns[above:], options.max_width - above
            needed, whole = (_widths(table, joined, above, whole=whole) for whole in (False, True))
            widths = _fitting(needed, columns, room, ((NAME, False),), first=above)
            if _total(widths) <= room:
                break
        else:
            widths = _fitting(needed, columns, room, ((NAME, False), (12, False), (LEAST, True)))
        for place, most in enumerate(whole):  # what is left keeps words together
            widths[place] += min(max(0, most - widths[place]), max(0, room - _total(widths)))
        gap = 1 + (_total(widths) + len(widths) <= room)
        yield from _lines(table, joined, above, widths, gap)


def _lines(
    table: Table, joined: Joined, above: bool, widths: Sequence[int], gap: int
) -> Iterator[RenderableType]:
    columns = table.columns[above:]
    if not above:
        yield _grid(columns, widths, (), joined, gap, header=True)
        yield _body(columns, widths, table.lines, joined, gap)
        return
    yield Padding(_grid(columns, widths, (), joined, gap, header=True), (0, 0, 0, 1))
    for name, lines in groupby(table.lines, key=lambda line: line.entries[0].whole):
        yield Text(escape.visible(name), style="bold" if table.grouped else "")
        rest = [Line(line.entries[1:]) for line in lines]
        yield Padding(_body(columns, widths, rest, joined, gap), (0, 0, 0, 1))


def _body(
    columns: Sequence[Column],
    widths: Sequence[int],
    lines: Sequence[Line],
    joined: Joined,
    gap: int,
) -> RenderableType:
    """The lines without their header; by hand where nothing folds, which is ten times as fast."""
    body, between = Text(no_wrap=True, overflow="ignore"), " " * gap
    for line in lines:
        for place, (entry, column, width) in enumerate(
            zip(line.entries, columns, widths, strict=True)
        ):
            text = joined(entry)
            if column.numeric:
                text.rstrip()
            free = width - cell_len(text.plain)
            if free < 0 or "\n" in text.plain:
                return _grid(columns, widths, lines, joined, gap, header=False)
            body.append(between if place else "\n" if body else "")
            left = free if column.numeric else 0
            body.append(" " * left).append_text(text).append(" " * (free - left))
    return body


def _grid(
    columns: Sequence[Column], widths: Sequence[int], lines: Sequence[Line], joined: Joined,
    gap: int, header: bool,
) -> Grid:  # fmt: skip
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False, show_edge=False,
                show_header=header)  # fmt: skip
    for column, width in zip(columns, widths, strict=True):
        title = escape.visible(column.short or column.title)
        grid.add_column(title, justify="right" if column.numeric else "left", width=width,
                        overflow="fold")  # fmt: skip
    for line in lines:
        grid.add_row(*map(joined, line.entries))
    return grid


def _widths(table: Table, joined: Joined, above: bool, whole: bool) -> list[int]:
    """What each column needs so that no word is broken; with `whole`, no field either."""
    needed = []
    for place, column in enumerate(table.columns):
        words = escape.visible(column.short or column.title).split() or [""]
        fields = [joined(line.entries[place]).plain for line in table.lines]
        broken = str.splitlines if whole or joined is _beside else str.split
        fields = [part for field in fields for part in broken(field)]
        needed.append(max(map(cell_len, [*words, *fields])))
    return needed[above:]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(widths) - 1


def _fitting(
    widths: Sequence[int],
    columns: Sequence[Column],
    room: int,
    phases: Sequence[tuple[int, bool]],
    first: bool = True,
) -> list[int]:
    """Narrower columns, as far as the phases allow.

    Args:
        widths: of each column.
        columns: their kinds.
        room: characters that there are.
        phases: how far the widest gives way, and whether numbers do too.
        first: whether the first column gives way.
    """
    found = list(widths)
    for least, numeric in phases:
        while _total(found) > room:
            able = [
                place
                for place in range(not first, len(found))
                if found[place] > least and (numeric or not columns[place].numeric)
            ]
            if not able:
                break
            found[max(able, key=found.__getitem__)] -= 1
    return found
