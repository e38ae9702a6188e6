"""Sheets on a terminal of 80 columns, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.paper.sheets import Sheet
from sparsebench.bench.present import escape

if TYPE_CHECKING:
    from rich.console import RenderableType


def terminal(sheets: Sequence[Sheet], sentences: Sequence[str]) -> Iterable[RenderableType]:
    """One renderable a table, then the sentences; nothing is told by colour alone."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for sheet in sheets:
        if sheet.wide:
            continue
        yield Text(f"\n{escape.visible(sheet.title)}", style="bold")
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for place, name in enumerate(sheet.header):
            table.add_column(
                name, justify="left" if place < sheet.texts else "right", overflow="fold"
            )
        for row in sheet.rows:
            table.add_row(*map(escape.visible, row))
        yield table
        if sheet.note:
            yield Text(escape.visible(sheet.note), style="dim")
    yield Padding(Text("\n".join(map(escape.visible, sentences))), (1, 0, 0, 0))


def markdown(sheets: Sequence[Sheet], sentences: Sequence[str]) -> str:
    """All tables, the wide ones too."""
    lines = ["# Sparse transfer: the paper and ours", ""]
    for sentence in sentences:
        lines += [f"- {escape.markdown(sentence)}"]
    for sheet in sheets:
        rules = ["---"] * sheet.texts + ["---:"] * (len(sheet.header) - sheet.texts)
        body = [escape.markdown_row(row) for row in sheet.rows]
        lines += ["", f"## {escape.markdown(sheet.title)}", ""]
        lines += [escape.markdown_row(sheet.header), f"| {' | '.join(rules)} |", *body]
        if sheet.note:
            lines += ["", escape.markdown(sheet.note)]
    return "\n".join(lines) + "\n"
