"""One report of one or several runs: a self-contained HTML page, or Markdown, or JSON."""

from sparsebench.bench.present.report.build import MARGIN, Report, build_report
from sparsebench.bench.present.report.write import FORMATS, write_report

__all__ = ["FORMATS", "MARGIN", "Report", "build_report", "write_report"]
