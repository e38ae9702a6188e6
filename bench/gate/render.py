"""A gate's report for people: a table in the terminal, and Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.bench.gate.report import CANNOT_TELL, GateReport
from sparsebench.bench.gate.words import details, headline, line_of, spoken_of
from sparsebench.bench.present import escape

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

WIDE = 110
"""Columns from which on a cell takes one line."""
_HEADERS = ("before", "now", "change", "95 % CI", "MDE", "accuracy")
_COLOURS = {
    "regressed": "bold red",
    "failed": "bold red",
    "missing": "bold red",
    "better": "green",
    "blind": "yellow",
    "new": "cyan",
}


def terminal_report(report: GateReport, baseline: Path, width: int = WIDE) -> list[RenderableType]:
    """The table, what is wrong with each failing cell, and the headline.

    Args:
        report: of the gate.
        baseline: the file it was judged by.
        width: columns of the terminal; below `WIDE` a cell takes two lines and 80 columns.
    """
    from rich.text import Text

    items: list[RenderableType] = [Text(text, style="bold red") for text in report.settings.busy]
    group, table = None, _table("")
    for verdict in report.verdicts:
        here = escape.visible(f"{verdict.key['workload']} on {verdict.key['task']}")
        if here != group:
            group, table = here, _table(here)
            items += [table, ""] if width >= WIDE else ["", Text(here, style="bold"), _narrow()]
        line = line_of(verdict)
        change, _, spread = line.change.partition(" (")
        mark = Text(line.mark, style=_COLOURS.get(verdict.status, ""))
        cells = (line.before, line.now, change, spread.rstrip(")"), line.sees, line.accuracy)
        if width >= WIDE:
            table.add_row(escape.visible(line.short), *cells, mark)
        else:
            items += [Text(escape.visible(line.short)), _narrow(cells) + mark]
    if width < WIDE:
        items.append("")
    for verdict in spoken_of(report):
        items.append(Text(escape.visible(verdict.name), style="bold"))
        items += [Text(f"  {escape.visible(line)}") for line in details(verdict, report, baseline)]
        items.append("")
    items += [Text(escape.visible(f"Note: {note}"), style="dim") for note in report.notes]
    style = {0: "bold green", CANNOT_TELL: "bold yellow"}.get(report.exit_code, "bold red")
    items.append(Text(f"{headline(report)}", style=style))
    return items


def _narrow(cells: Sequence[str] = (*_HEADERS, "verdict")) -> Text:
    """One line of numbers in fixed columns: 67 wide, and room for the verdict."""
    from rich.text import Text

    widths = (9, 8, 9, 17, 7, 15)
    padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False)]
    return Text("".join(padded) + "  " + "".join(cells[len(widths) :]))


def _table(title: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("cell", overflow="fold")
    for column in _HEADERS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    return table


def markdown_report(report: GateReport, baseline: Path) -> str:
    """The same for a pull request comment or a job's summary: the verdict is its first word."""
    signs = {0: ":white_check_mark: Passed", CANNOT_TELL: ":grey_question: Inconclusive"}
    lines = [
        f"### {signs.get(report.exit_code, ':x: Failed')}: sparsebench, {headline(report)}",
        "",
        *(line for text in report.settings.busy for line in (f"**{escape.markdown(text)}**", "")),
        f"Baseline {escape.markdown_code(str(baseline))}: {escape.markdown(report.reason)}",
        "",
        "| verdict | cell | baseline | now | change (95 % CI) | accuracy (pp) |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for verdict in report.verdicts:
        line = line_of(verdict)
        mark = f"**{line.mark}**" if verdict in report.failing else line.mark
        cells = (line.name, line.before, line.now, line.change, line.accuracy)
        lines.append(f"| {mark} {escape.markdown_row(cells)}")
    for verdict in spoken_of(report):
        lines += ["", f"**{escape.markdown(verdict.name)}**", ""]
        for text in details(verdict, report, baseline):
            head, colon, command = text.partition("repeat: ")
            repeats = colon and not head
            told = f"repeat: {escape.markdown_code(command)}" if repeats else escape.markdown(text)
            lines.append(f"- {told}")
    if report.notes:
        lines += ["", *(f"> {escape.markdown(note)}" for note in report.notes)]
    return "\n".join(lines) + "\n"
