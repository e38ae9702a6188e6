"""A table as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Iterable

from sparsebench.bench.present import escape
from sparsebench.bench.present.table.model import Entry, Table

FOLDED = 60
"""Markdown folds tables of more lines away."""
PROSE = 40
"""Characters of a cell from which LaTeX sets a column as a paragraph."""
PROSE_WIDTH = r"0.3\textwidth"


def markdown(table: Table, level: int = 2) -> list[str]:
    """Lines of Markdown with a heading; the table folds away where it is long."""
    table = table.filled()
    marks = ("---:" if column.numeric else "---" for column in table.columns)
    lines = [
        escape.markdown_row(column.title for column in table.columns),
        f"| {' | '.join(marks)} |",
        *(f"| {' | '.join(map(_markdown, line.entries))} |" for line in table.lines),
    ]
    if len(table.lines) > FOLDED:
        count = f"{len(table.lines)} rows"
        lines = [f"<details><summary>{count}</summary>", "", *lines, "", "</details>"]
    head = [f"{'#' * level} {escape.markdown(table.title)}", ""] if table.title else []
    notes = [line for note in table.notes for line in ("", escape.markdown(note))]
    return ["", *head, *lines, *notes]


def _markdown(entry: Entry) -> str:
    text = escape.markdown(entry.whole)
    return f"**{text}**" if entry.tone == "bad" else text


def latex(table: Table) -> list[str]:
    r"""The main columns, no wider than the page; the title is a caption, the notes are comments.

    Needs :data:`LATEX_PACKAGES`.
    """
    table = table.filled(minor=False)
    widest = [
        max((len(line.entries[i].whole) for line in table.lines), default=0)
        for i in range(len(table.columns))
    ]
    kinds = [
        f"p{{{PROSE_WIDTH}}}" if width > PROSE else "r" if column.numeric else "l"
        for column, width in zip(table.columns, widest, strict=True)
    ]

    def row(cells: Iterable[str]) -> str:
        return rf"      {' & '.join(cells)} \\"

    return [
        r"\begin{table*}",
        r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}",
        *([rf"  \caption{{{escape.latex(table.title)}}}"] if table.title else []),
        r"  \resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"    \begin{{tabular}}{{{''.join(kinds)}}}",
        r"      \toprule",
        row(
            _latex_title(column.title, kind, width)
            for column, kind, width in zip(table.columns, kinds, widest, strict=True)
        ),
        r"      \midrule",
        *(row(escape.latex(entry.whole) for entry in line.entries) for line in table.lines),
        r"      \bottomrule",
        r"    \end{tabular}}",
        r"\end{table*}",
        *(f"% {escape.visible(note)}" for note in table.notes),
        "",
    ]


def _latex_title(title: str, kind: str, width: int) -> str:
    """A title no wider than its column where its words allow: in lines, one above the other."""
    lines = textwrap.wrap(title, max(width, 8), break_long_words=False, break_on_hyphens=False)
    if len(lines) < 2 or kind not in "lr":
        return escape.latex(title)
    stacked = r"\\".join(map(escape.latex, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}{kind}@{{}}}}{stacked}\end{{tabular}}"


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV; no cell is taken for a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(escape.csv_cell, row) for row in rows)
    return text.getvalue()


def _csv(table: Table) -> list[str]:
    """Its title in a line of its own, the header, the rows, an empty line."""
    title = [[table.title]] if table.title else []
    header = [column.title for column in table.columns]
    rows = ([entry.whole for entry in line.entries] for line in table.lines)
    return [*csv_text([*title, header, *rows]).splitlines(), ""]


LATEX_PACKAGES = r"\usepackage{booktabs,graphicx}"
_WRITERS: dict[str, Callable[[Table], list[str]]] = {
    "markdown": markdown, "latex": latex, "csv": _csv
}  # fmt: skip
FORMATS = tuple(_WRITERS)


def written(tables: Iterable[Table], form: str) -> str:
    """Tables in one of :data:`FORMATS`."""
    lines = [line for table in tables for line in _WRITERS[form](table)]
    if form == "latex":
        lines = [f"% Needs {LATEX_PACKAGES} in the preamble.", *lines]
    return "\n".join(lines).strip("\n") + "\n"
