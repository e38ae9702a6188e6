"""A run as tables: for the terminal, as Markdown and as CSV."""

from bench.tables.compared import compared_tables
from bench.tables.files import summary_markdown
from bench.tables.rows import Row, Section, sections
from bench.tables.spreadsheet import summary_csv
from bench.tables.terminal import terminal_tables

__all__ = [
    "Row",
    "Section",
    "compared_tables",
    "sections",
    "summary_csv",
    "summary_markdown",
    "terminal_tables",
]
