"""``sparsebench plot``: figures of one or more runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import a_place
from sparsebench.bench.cli.say import echo

# The names are also those of `bench/present/plots/figures.py`; a test holds them together.
# The help may not import the figures.
FIGURES = ("speedup-accuracy", "stages", "batch-size", "threads", "bound", "profile", "history")
EPILOG = """Figures:

  speedup-accuracy  speed-up against accuracy change, with intervals both ways

  stages  where the time goes, dense beside sparse

  batch-size  speed-up against batch size, off-grid cliffs marked

  threads  speed-up against threads

  bound  measured speed-up against what theory allows

  profile  performance profile over tasks

  history  one machine's ratios over several runs, with lasting changes

Examples:

  sparsebench plot runs/quick-20260101-120000

  sparsebench plot runs/a runs/b --out both.png

  sparsebench plot runs/a --figure all --out figures/

  sparsebench plot runs/a --engine deepsparse --workload inference --margin 1

  sparsebench plot runs/a --format pdf --columns 1 --out figures/
"""


def plot(
    runs: Annotated[list[Path], typer.Argument(help="One or more run folders.")],
    figure: Annotated[
        list[str] | None,
        typer.Option(help="Which figure, or 'all'; may be repeated (default: speedup-accuracy)."),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Show this engine; may be repeated (default: all).")
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Show this workload; may be repeated.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Show this task; may be repeated.")] = None,
    same_engine: Annotated[
        bool,
        typer.Option(
            "--same-engine",
            help="speedup-accuracy: against dense on the same engine, not the best dense engine.",
        ),
    ] = False,
    margin: Annotated[
        float,
        typer.Option(min=0, help="speedup-accuracy: pp lost that still count as no worse."),
    ] = 0.5,
    file_format: Annotated[
        list[str] | None,
        typer.Option("--format", help="png, svg or pdf; may be repeated (default: png and svg)."),
    ] = None,
    columns: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="A paper's columns to fill: 1 is 3.3 inches wide, 2 is 7 inches."
        ),
    ] = 2,
    panels: Annotated[
        int | None,
        typer.Option(
            min=1, help="Panels of a figure, at most (default: 18, and one page where it has more)."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=a_place, help="Folder, or a file's name (default: the first run's folder)."
        ),
    ] = None,
) -> None:
    """Draw speed-up against accuracy change, with intervals both ways, or other figures."""
    from sparsebench.bench.present.plots.canvas import PAGES
    from sparsebench.bench.present.plots.data import Selection
    from sparsebench.bench.present.plots.figures import DEFAULT, Wish, draw_figures
    from sparsebench.bench.records import RunFolder

    selection = Selection(tuple(workload or ()), tuple(task or ()), tuple(engine or ()))
    page = replace(PAGES[columns], most=panels)
    wish = Wish(selection, "speedup" if same_engine else "total", margin, page)
    folders = RunFolder.reading_all(runs)
    drawn = draw_figures(folders, figure or [DEFAULT], wish, out or runs[0], file_format or ())
    for path in drawn.files:
        echo(str(path))
    for name, reason in drawn.missing:
        echo(f"not drawn: {name}: {reason}", err=True)
