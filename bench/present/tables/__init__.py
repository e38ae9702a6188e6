"""A run as tables: for the terminal, as Markdown and as CSV."""

from sparsebench.bench.present.tables.compared import compared_tables
from sparsebench.bench.present.tables.files import summary_markdown
from sparsebench.bench.present.tables.rows import Row, Section, sections
from sparsebench.bench.present.tables.spreadsheet import summary_csv, summary_frame
from sparsebench.bench.present.tables.terminal import terminal_tables

__all__ = [
    "Row",
    "Section",
    "compared_tables",
    "sections",
    "summary_csv",
    "summary_frame",
    "summary_markdown",
    "terminal_tables",
]
