"""Where a report goes, in which form, all at once or not at all."""

from __future__ import annotations

from pathlib import Path

from sparsebench.bench.present.report.build import Report
from sparsebench.models.errors import SparsebenchError, UnknownNameError

FORMATS = ("html", "markdown", "latex", "csv")
SUFFIXES = {
    ".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".tex": "latex",
    ".csv": "csv",
}  # fmt: skip
DEFAULT_NAMES = {
    "html": "report.html", "markdown": "report.md", "latex": "report.tex", "csv": "report.csv",
}  # fmt: skip


def chosen_format(out: Path | None, wanted: str) -> str:
    """The form that is asked for: by name, else by the suffix of `out`, else HTML.

    Raises:
        UnknownNameError: there is no such form.
        SparsebenchError: the suffix says nothing.
    """
    if wanted:
        if wanted not in FORMATS:
            raise UnknownNameError("format", wanted, FORMATS)
        return wanted
    if out is None or out.is_dir():
        return "html"
    try:
        return SUFFIXES[out.suffix.lower()]
    except KeyError:
        raise SparsebenchError(
            f"{out} does not say which form the report shall have.",
            "Name it .html, .md, .tex or .csv, or add --format html, markdown, latex or csv.",
        ) from None


def write_report(report: Report, out: Path | None = None, form: str = "") -> Path:
    """Write the report; a reader sees the old file or the new one, never half of one.

    Args:
        report: what to write.
        out: the file, or a folder for it; by default the first run's folder.
        form: one of `FORMATS`; by default what the suffix of `out` says.

    Raises:
        UnknownNameError: no such form.
        SparsebenchError: the suffix says nothing, or the file cannot be written.
    """
    form = chosen_format(out, form)
    target = report.runs[0].path if out is None else out
    if target.is_dir():
        target = target / DEFAULT_NAMES[form]
    text = rendered(report, form)
    temporary = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise SparsebenchError(
            f"{target} cannot be written: {error.strerror or error}.", "Choose another --out."
        ) from error
    return target


def rendered(report: Report, form: str) -> str:
    """The report as text, in one of `FORMATS`."""
    if form == "html":
        from sparsebench.bench.present.report.page import html_page

        return html_page(report)
    if form == "markdown":
        from sparsebench.bench.present.report.markdown import markdown_page

        return markdown_page(report)
    from sparsebench.bench.present.report.contents import every_table
    from sparsebench.bench.present.table import written

    return written(every_table(report), form)
