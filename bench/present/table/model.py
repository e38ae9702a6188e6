"""What a table holds, whatever it is written on.

Text is text as it was found: each renderer escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

DASH = "\N{EN DASH}"
NOTHING = ("", DASH)


@dataclass(frozen=True)
class Entry:
    """One field of a table.

    Args:
        text: what it says.
        spread: the interval behind it, in smaller print.
        sort: what its column is sorted by; None goes last. By default the number that the text
            begins with, else the text.
        tone: "better", "worse", ... (a verdict), or "muted".
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
        if self.sort != "":
            return str(self.sort)
        number = self.text.split(" ")[0].rstrip("×x%").replace(",", "")
        return number if number.replace(".", "", 1).isdigit() else self.text

    @property
    def whole(self) -> str:
        """Text and interval."""
        return f"{self.text} {self.spread}" if self.spread else self.text


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        title: its heading.
        numeric: whether it holds numbers, which stand to the right.
        hover: what it means, in a sentence.
        minor: whether a page hides it until it is asked for.
        short: its heading where there is little room.
    """

    title: str
    numeric: bool = False
    hover: str = ""
    minor: bool = False
    short: str = ""


@dataclass(frozen=True)
class Line:
    """One row; a facet without a value passes every filter of a page."""

    entries: tuple[Entry, ...]
    facets: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


@dataclass(frozen=True)
class Table:
    """One table.

    Args:
        title: its heading; may be empty.
        columns: titles.
        lines: rows.
        notes: sentences below it.
        grouped: whether lines with the same first entry stand together; a terminal then writes
            it once, above them.
        commands: whether its rows have commands that repeat them.
    """

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    grouped: bool = False
    commands: bool = False

    @classmethod
    def of(
        cls,
        title: str,
        header: Sequence[str],
        rows: Iterable[Sequence[str | Entry]],
        *notes: str,
        words: int = 1,
    ) -> Table:
        """From text.

        Args:
            title: its heading.
            header: titles of the columns.
            rows: one entry or text a column.
            notes: sentences below it.
            words: how many columns from the left hold words; the others hold numbers.
        """
        return cls(
            title,
            tuple(Column(name, place >= words) for place, name in enumerate(header)),
            tuple(
                Line(tuple(one if isinstance(one, Entry) else Entry(one) for one in row))
                for row in rows
            ),
            tuple(note for note in notes if note),
        )

    def filled(self, *, minor: bool = True) -> Table:
        """Without the columns that no line fills, and on demand without the minor ones."""
        kept = [
            place
            for place, column in enumerate(self.columns)
            if (minor or not column.minor)
            and any(line.entries[place].text not in NOTHING for line in self.lines)
        ]
        return replace(
            self,
            columns=tuple(self.columns[place] for place in kept),
            lines=tuple(
                replace(line, entries=tuple(line.entries[place] for place in kept))
                for line in self.lines
            ),
        )
