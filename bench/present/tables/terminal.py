"""The tables as rich renderables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sparsebench.bench.machine.busy import Busy
from sparsebench.bench.present import escape
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.resources import (
    LATENCY_CAPTION,
    LATENCY_HEADER,
    latency_cells,
)
from sparsebench.bench.present.tables.rows import Row, Section
from sparsebench.bench.present.tables.training import HEADER, training_caption, training_cells
from sparsebench.bench.present.tables.wording import (
    BASELINE,
    BEST_DENSE,
    UNTRAINED,
    caption,
    how_to_read,
    seen_words,
    speed_header,
    warnings,
)
from sparsebench.bench.records import Record

STYLES = {"better": "green", "worse": "red", "tied": "cyan", "inconclusive": "yellow"}
HEADERS = (
    "engine", "accuracy %", "change (pp)", "", "vs dense, same engine", "vs best dense engine",
    "verdict", "MDE",
)  # fmt: skip
"""Of the accuracy; MDE: minimum detectable effect. The longer titles do not fit 80 columns."""
WIDE = (12, 11, 10, 11, 15, 15, 12, 5)
NARROW = (12, 8, 6, 10, 10, 10, 12, 5)
"""Widths of the columns, with one space between; in a narrow table the interval goes to a line of
its own."""


def terminal_tables(
    found: Sequence[Section],
    records: Sequence[Record],
    closing: Sequence[str] = (),
    busy: Busy | None = None,
) -> list[RenderableType]:
    """One renderable for each table, then which variant to take, how to read, and warnings.

    Args:
        found: the tables of a run.
        records: all of the run, for the warnings.
        closing: which variant to take (`sparsebench.bench.present.decisions.closing_lines`).
        busy: how busy its machine was; that comes before everything.

    The tables fit 80 columns, and take one line a cell from 100 on. Nothing is told by colour
    alone.
    """
    renderables: list[RenderableType] = []
    if busy is not None:
        renderables.append(Text(busy.sentence, style="bold red"))
    renderables += [_one(section) for section in found]
    if closing:
        told = "\n".join(map(escape.visible, closing))
        renderables.append(Padding(Text(told), (1, 0, 0, 0)))
    if any(section.rows for section in found):
        renderables.append(Padding(Text(how_to_read(found), style="dim"), (1, 0, 0, 0)))
    return renderables + [Text(text, style="bold") for text in warnings(records)]


def _one(section: Section) -> RenderableType:
    parts: list[RenderableType] = [
        Text(escape.visible(f"{section.workload} on {section.task}"), style="bold"),
        Text(escape.visible(section.settings), style="dim"),
    ]
    if section.rows:
        parts += [_Rows(section), Text(caption(section), style="dim")]
        parts += [Text(escape.visible(f"Note: {note}"), style="dim") for note in section.notes]
        parts += _latency(section) + _training(section)
    else:
        parts.append(Text("Nothing was measured."))
    if section.missing:
        parts.append(Text("Without numbers:"))
        parts += [
            Padding(Text.assemble((name, "red"), f"  {reason}"), (0, 0, 0, 2))
            for name, reason in (map(escape.visible, pair) for pair in section.missing)
        ]
    return Padding(Group(*parts), (1, 0, 0, 0))


def _training(section: Section) -> list[RenderableType]:
    cells = training_cells(section)
    if not cells:
        return []
    more = "Which seeds missed, accuracy at the best epoch and peak memory: summary.md."
    return _table(HEADER, cells, f"{training_caption(section)} {more}")


def _latency(section: Section) -> list[RenderableType]:
    cells = latency_cells(section)
    return _table(LATENCY_HEADER, cells, LATENCY_CAPTION) if cells else []


def _table(
    header: Sequence[str], cells: Sequence[Sequence[str]], caption: str
) -> list[RenderableType]:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    # A column that nobody fills would make the names fold.
    told = [n for n in range(len(header)) if any(row[n] != numbers.DASH for row in cells)]
    names = max(len(row[0]) for row in cells)
    for n in told:
        table.add_column(
            header[n],
            justify="left" if n < 2 else "right",
            overflow="fold",
            min_width=min(names, 32) if n == 0 else None,
        )
    for row in cells:
        table.add_row(*(escape.visible(row[n]) for n in told))
    return [table, Text(escape.visible(caption), style="dim")]


@dataclass(frozen=True)
class _Rows:
    """The rows under one header, backbone by backbone, as wide as the console allows."""

    section: Section

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= sum(WIDE) + len(WIDE) - 1
        widths = WIDE if wide else NARROW
        header = _grid(widths, options.max_width, header=speed_header(self.section))
        yield header
        for name, rows in groupby(self.section.rows, key=lambda row: row.record.backbone.name):
            group = list(rows)
            trained = group[0].record.backbone.trained
            yield Text.assemble((escape.visible(name), "bold"), "" if trained else f"  {UNTRAINED}")
            table = _grid(widths, options.max_width)
            for row in group:
                table.add_row(*_cells(row, " " if wide else "\n"))
            yield table


def _grid(widths: Sequence[int], available: int, header: str | None = None) -> Table:
    """A table without frame; with `header` it is the header alone, named so in speed's place."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
        show_header=header is not None,
    )
    for title, width in zip(HEADERS, _fitting(widths, available), strict=True):
        right = title not in ("engine", "verdict")
        table.add_column(
            title or header or "", justify="right" if right else "left", width=width,
            overflow="fold",
        )  # fmt: skip
    return table


def _fitting(widths: Sequence[int], available: int) -> Iterator[int]:
    """Narrower columns where even the narrow table does not fit."""
    share = min(1.0, (available - len(widths) + 1) / sum(widths))
    return (max(3, int(width * share)) for width in widths)


def _cells(row: Row, between: str) -> list[Text]:
    trained = row.record.backbone.trained
    dense = row.record.backbone.is_dense
    accuracy = numbers.percent(row.accuracy) if row.accuracy and trained else None
    change = numbers.points(row.delta) if row.delta and trained else None
    speedup = numbers.ratio(row.speedup) if row.speedup else None
    total = numbers.ratio(row.total) if row.total else None
    return [
        Text(f" {escape.visible(row.engine)}"),
        _joined(accuracy, between),
        Text(BASELINE) if dense and trained else _joined(change, between),
        _joined(numbers.speed(row.speed), between),
        Text(BASELINE) if dense else _joined(speedup, between),
        Text(BEST_DENSE) if row.best else _joined(total, between, row.total_verdict),
        Text(escape.visible(row.verdict or ""), style=STYLES.get(row.verdict or "", "")),
        Text(seen_words(row)),
    ]


def _joined(pair: tuple[str, str] | None, between: str, verdict: str | None = None) -> Text:
    if pair is None:
        return Text(numbers.DASH)
    return Text(between.join(pair), style=STYLES.get(verdict or "", ""))
