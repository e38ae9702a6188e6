"""The one table of the suite, and how it is written: terminal, Markdown, LaTeX, CSV, HTML."""

from sparsebench.bench.present.table.model import DASH, Column, Entry, Line, Table
from sparsebench.bench.present.table.terminal import terminal
from sparsebench.bench.present.table.text import FORMATS, csv_text, latex, markdown, written

__all__ = [
    "DASH",
    "FORMATS",
    "Column",
    "Entry",
    "Line",
    "Table",
    "csv_text",
    "latex",
    "markdown",
    "terminal",
    "written",
]
