"""A run as tables, and as CSV."""

from sparsebench.bench.present.tables.compared import compared_table
from sparsebench.bench.present.tables.main import main_table
from sparsebench.bench.present.tables.printed import terminal_tables
from sparsebench.bench.present.tables.rows import Row, Section, sections
from sparsebench.bench.present.tables.spreadsheet import summary_csv, summary_frame

__all__ = [
    "Row",
    "Section",
    "compared_table",
    "main_table",
    "sections",
    "summary_csv",
    "summary_frame",
    "terminal_tables",
]
