"""``sparsebench history``: when did the ratios of one machine change for good?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsebench.bench.cli.options import Format, Json, fraction
from sparsebench.bench.cli.say import echo, echo_json

if TYPE_CHECKING:
    from sparsebench.bench.history.changepoints import ChangePoint
    from sparsebench.bench.present.table import Table

EPILOG = """Examples:

  sparsebench history nightly/

  sparsebench history nightly/ --effect 3% --out pictures/

Exit code 1 where the newest level of a cell is worse than the one before it.
"""


def history(
    folder: Annotated[Path, typer.Argument(help="Folder whose sub-folders are runs.")],
    effect: Annotated[str, typer.Option(help="Smallest change that counts: 5% or 0.05.")] = "5%",
    machine: Annotated[
        str, typer.Option(help="Fingerprint to follow (default: that of most runs).")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for history.png and .svg (default: FOLDER).")
    ] = None,
    form: Format = "",
    as_json: Json = False,
) -> None:
    """Find lasting changes in the runs of one machine, and draw them."""
    from sparsebench.bench.history.changepoints import LEAST_RUNS, change_points
    from sparsebench.bench.history.series import read_series
    from sparsebench.bench.present.plots.canvas import save_figure
    from sparsebench.bench.present.plots.history import draw

    found = read_series(folder, machine)
    points = change_points(found.series, fraction(effect, "--effect"))
    paths = save_figure(draw(found, points), out or folder, "history")
    latest = {point.name: point for point in points}  # oldest first: the last one stays
    worse = [point for point in latest.values() if point.change < 0]
    if as_json:
        from dataclasses import asdict

        data = {
            "machine": found.fingerprint,
            "series": [asdict(series) for series in found.series],
            "changes": [{**asdict(point), "change": point.change} for point in points],
            "left_out": found.left_out,
            "pictures": [str(path) for path in paths],
        }
        echo_json(data)
        raise typer.Exit(1 if worse else 0)
    from sparsebench.bench.cli.console import show

    longest = max((len(series.runs) for series in found.series), default=0)
    echo(f"{len(found.series)} series of machine {found.fingerprint}, up to {longest} runs")
    for line in found.left_out:
        echo(f"  left out: {line}")
    if longest < LEAST_RUNS:
        echo(f"Change points need {LEAST_RUNS} runs or more.")
    if points:
        show([_table(points)], form)
    if not points:
        echo("No lasting change.")
    echo(f"Drawn: {', '.join(str(path) for path in paths)}")
    raise typer.Exit(1 if worse else 0)


def _table(points: Sequence[ChangePoint]) -> Table:
    from sparsebench.bench.present.table import Table

    header = ("cell", "since", "change", "before", "after", "p", "engine")
    rows = [
        (point.name, f"since {point.run} ({point.created[:10]})", f"{point.change:+.1%}",
         f"{point.before:.2f}×", f"{point.after:.2f}×", f"{point.p:.2g}",
         " → ".join(map(str, point.versions or ())))
        for point in points
    ]  # fmt: skip
    return Table.of("Lasting changes", header, rows, words=2)
