"""``sparsebench plot``: speed-up against accuracy change, from one or more runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Examples:

  sparsebench plot runs/quick-20260101-120000

  sparsebench plot runs/a runs/b --out both.png
"""


def plot(
    runs: Annotated[list[Path], typer.Argument(help="One or more run folders.")],
    out: Annotated[
        Path | None, typer.Option(help="PNG or SVG file (default: both, in the first run).")
    ] = None,
) -> None:
    """Draw speed-up against accuracy change, with intervals in both directions."""
    from bench.records import RunFolder
    from bench.reporting import plot_runs

    for path in plot_runs([RunFolder.reading(run) for run in runs], out or runs[0]):
        typer.echo(str(path))
