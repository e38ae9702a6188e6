"""What the command line calls to turn a run's folder into tables, files and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.bench.records import RunFolder

if TYPE_CHECKING:
    from rich.console import RenderableType

SUMMARY_MARKDOWN = "summary.md"
SUMMARY_CSV = "summary.csv"
PLOT = "speedup-accuracy"


def write_summaries(folder: RunFolder) -> None:
    """Write comparisons.jsonl, summary.md, summary.csv and the plot from records and trials.

    Everything written here follows from `records.jsonl` and `trials.jsonl` and may be written
    again at any time.

    Raises:
        SparsebenchError: a file of the run is damaged, or the folder cannot be written.
    """
    from sparsebench.bench.comparisons import compare_run
    from sparsebench.bench.present.plots.points import points_of
    from sparsebench.bench.present.plots.speedup_accuracy import save
    from sparsebench.bench.present.report import build_report
    from sparsebench.bench.present.report.markdown import markdown_page
    from sparsebench.bench.present.tables import sections, summary_csv

    records, trials = folder.records(), folder.trials()
    comparisons = compare_run(records, trials)
    folder.replace_comparisons(comparisons)
    if records:
        folder.write_text(SUMMARY_MARKDOWN, markdown_page(build_report([folder.path])))
    folder.write_text(SUMMARY_CSV, summary_csv(sections(records, trials, comparisons)))
    save(points_of(records, comparisons, trials), folder.path, PLOT)


def write_page(folder: RunFolder) -> None:
    """Write report.html from the run's files, if it has any record.

    Raises:
        SparsebenchError: a file of the run is damaged, or the folder cannot be written.
    """
    from sparsebench.bench.present.report import build_report, write_report

    if folder.records():
        write_report(build_report([folder.path]))


def render_tables(folder: RunFolder) -> list[RenderableType]:
    """The tables of a run for the terminal."""
    from sparsebench.bench.comparisons.busy import busy
    from sparsebench.bench.decide import RunData
    from sparsebench.bench.present.decisions import closing_lines
    from sparsebench.bench.present.tables import sections, terminal_tables

    run = RunData.read(folder)
    found = sections(run.records, run.trials, run.comparisons)
    busyness = busy(run.records, run.trials)
    return terminal_tables(found, run.records, closing_lines(run), busyness)


def plot_runs(folders: Sequence[RunFolder], out: Path) -> list[Path]:
    """Speed-up against accuracy of one or several runs, as PNG and SVG.

    Args:
        folders: the runs; their points share the panels of their workloads.
        out: folder for `speedup-accuracy.png` and `.svg`, or a name ending in .png or .svg
            whose stem is used for both.

    Returns:
        The files written.

    Raises:
        SparsebenchError: a run's file is damaged, or `out` cannot be written.
    """
    from sparsebench.bench.present.plots.figures import DEFAULT, Wish, draw_figures

    return list(draw_figures(folders, [DEFAULT], Wish(), out).files)
