"""A gate's report for people: a table in the terminal, and Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.bench.gate.report import BLIND, CANNOT_TELL, CellVerdict, GateReport
from sparsebench.bench.gate.words import details, headline, line_of, spoken_of
from sparsebench.bench.present import escape
from sparsebench.bench.present.table import Column, Entry, Line, Table, markdown
from sparsebench.bench.tasks.kinds import word_of, worded

if TYPE_CHECKING:
    from rich.console import RenderableType

ACCURACY = "accuracy (pp)"
_COLUMNS = (
    Column("cell"), Column("verdict"), Column("before", True), Column("now", True),
    Column("change (95% CI)", True), Column("MDE", True),
)  # fmt: skip
_TONES = {BLIND: "inconclusive", "better": "better", "new": "new"}


def verdict_table(verdicts: Iterable[CellVerdict], report: GateReport, title: str = "") -> Table:
    """One line a cell; under a title that names workload and task the cells leave them out."""
    lines, metrics = [], []
    for verdict in verdicts:
        if verdict.accuracy_change is not None:
            metrics.append(verdict.metric)
        line, bad = line_of(verdict), report.fails(verdict)
        change, _, spread = line.change.partition(" ")
        entries = (
            Entry(line.short if title else line.name),
            Entry(line.mark, tone="bad" if bad else _TONES.get(verdict.status, "")),
            Entry(line.before), Entry(line.now), Entry(change, spread), Entry(line.mde),
            Entry(line.accuracy),
        )  # fmt: skip
        lines.append(Line(entries))
    accuracy = Column(worded(ACCURACY, word_of(metrics)), True)
    return Table(title, (*_COLUMNS, accuracy), tuple(lines))


def terminal_report(report: GateReport, baseline: Path) -> list[Table | RenderableType]:
    """The tables, what is wrong with each failing cell, and the headline.

    Args:
        report: of the gate.
        baseline: the file it was judged by.
    """
    from rich.text import Text

    items: list[Table | RenderableType] = [
        Text(text, style="bold red") for text in report.settings.busy
    ]
    for title, verdicts in groupby(
        report.verdicts, key=lambda verdict: f"{verdict.key['workload']} on {verdict.key['task']}"
    ):
        items.append(verdict_table(verdicts, report, title))
    items.append("")
    for verdict in spoken_of(report):
        items.append(Text(escape.visible(verdict.name), style="bold"))
        # A command that is broken in two cannot be copied.
        items += [
            Text(f"  {escape.visible(line)}", no_wrap=line.startswith("repeat: "))
            for line in details(verdict, report, baseline)
        ]
        items.append("")
    items += [Text(escape.visible(f"Note: {note}"), style="dim") for note in report.notes]
    style = {0: "bold green", CANNOT_TELL: "bold yellow"}.get(report.exit_code, "bold red")
    return [*items, Text(headline(report), style=style)]


def markdown_report(report: GateReport, baseline: Path) -> str:
    """The same for a pull request comment or a job's summary: the verdict is its first word."""
    signs = {0: ":white_check_mark: Passed", CANNOT_TELL: ":grey_question: Inconclusive"}
    lines = [
        f"### {signs.get(report.exit_code, ':x: Failed')}: sparsebench, {headline(report)}",
        "",
        *(line for text in report.settings.busy for line in (f"**{escape.markdown(text)}**", "")),
        f"Baseline {escape.markdown_code(str(baseline))}: {escape.markdown(report.reason)}",
        *markdown(verdict_table(report.verdicts, report)),
    ]
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
