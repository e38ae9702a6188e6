"""``sparsebench history``: when did the ratios of one machine change for good?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import Json, fraction
from sparsebench.bench.cli.say import echo, echo_json

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
        Path | None,
        typer.Option(help="Folder for history.html, .png and .svg (default: FOLDER)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find lasting changes in the runs of one machine: as text, a figure and a page of trends."""
    from sparsebench.bench.cli.check import write
    from sparsebench.bench.history.changepoints import LEAST_RUNS, change_points
    from sparsebench.bench.history.series import read_series
    from sparsebench.bench.present.plots.canvas import save_figure
    from sparsebench.bench.present.plots.history import draw
    from sparsebench.bench.present.report.history_page import history_page, latest

    found = read_series(folder, machine)
    points = change_points(found.series, fraction(effect, "--effect"))
    paths = save_figure(draw(found, points), out or folder, "history")
    page = (out or folder) / "history.html"
    write(page, history_page(found, points, [path for path in paths if path.suffix == ".svg"]))
    worse = [point for point in latest(points) if point.change < 0]
    if as_json:
        from dataclasses import asdict

        data = {
            "machine": found.fingerprint,
            "series": [asdict(series) for series in found.series],
            "changes": [{**asdict(point), "change": point.change} for point in points],
            "left_out": found.left_out,
            "pictures": [str(path) for path in paths],
            "page": str(page),
        }
        echo_json(data)
        raise typer.Exit(1 if worse else 0)
    longest = max((len(series.runs) for series in found.series), default=0)
    echo(f"{len(found.series)} series of machine {found.fingerprint}, up to {longest} runs")
    for line in found.left_out:
        echo(f"  left out: {line}")
    if longest < LEAST_RUNS:
        echo(f"Change points need {LEAST_RUNS} runs or more.")
    for point in points:
        versions = f", engine {point.versions[0]} -> {point.versions[1]}" if point.versions else ""
        echo(
            f"{point.change:+.1%} since {point.run} ({point.created[:10]}): {point.name}, "
            f"{point.before:.2f}× -> {point.after:.2f}× (p = {point.p:.2g}{versions})"
        )
    if not points:
        echo("No lasting change.")
    echo(f"Drawn: {', '.join(str(path) for path in (*paths, page))}")
    raise typer.Exit(1 if worse else 0)
