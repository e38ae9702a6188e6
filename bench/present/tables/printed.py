"""A run's tables and what stands around them, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from sparsebench.bench.comparisons.busy import Busy
from sparsebench.bench.present import escape
from sparsebench.bench.present.table import terminal
from sparsebench.bench.present.tables.communication import communication_table
from sparsebench.bench.present.tables.decoding import decoding_table
from sparsebench.bench.present.tables.main import main_table
from sparsebench.bench.present.tables.resources import latency_table
from sparsebench.bench.present.tables.rows import Section
from sparsebench.bench.present.tables.training import training_table
from sparsebench.bench.present.tables.wording import how_to_read, warnings
from sparsebench.bench.records import Record


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
    parts: list[RenderableType] = [Text(busy.sentence, style="bold red")] if busy else []
    parts += [Padding(Group(*_section(section)), (1, 0, 0, 0)) for section in found]
    if closing:
        told = "\n".join(map(escape.visible, closing))
        parts.append(Padding(Text(told), (1, 0, 0, 0)))
    if any(section.rows for section in found):
        parts.append(Padding(Text(how_to_read(found), style="dim"), (1, 0, 0, 0)))
    return parts + [Text(text, style="bold") for text in warnings(records)]


def _section(section: Section) -> list[RenderableType]:
    title = f"{section.workload} on {section.task}"
    if section.rows:
        more = (
            decoding_table(section),
            latency_table(section),
            training_table(section),
            communication_table(section),
        )
        tables = [main_table(title, [section]), *(table for table in more if table is not None)]
        parts: list[RenderableType] = [Padding(terminal(table), (place > 0, 0, 0, 0))
                 for place, table in enumerate(tables)]  # fmt: skip
    else:
        parts = [Text(escape.visible(title), style="bold"), Text("Nothing was measured.")]
    if section.missing:
        parts.append(Text("Without numbers:"))
        parts += [
            Padding(Text.assemble((name, "red"), f"  {reason}"), (0, 0, 0, 2))
            for name, reason in (map(escape.visible, pair) for pair in section.missing)
        ]
    return parts
