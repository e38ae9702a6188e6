"""``sparsebench history``: when did the ratios of one machine change for good?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import Format, Json, a_place, fraction, write
from sparsebench.bench.cli.say import echo_json

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
        typer.Option(
            callback=a_place, help="Folder for history.html, .png and .svg (default: FOLDER)."
        ),
    ] = None,
    form: Format = "",
    as_json: Json = False,
) -> None:
    """Find lasting changes in the runs of one machine: as text, a figure and a page of trends."""
    from sparsebench.bench.comparisons.history.changepoints import LEAST_RUNS, change_points
    from sparsebench.bench.comparisons.history.series import read_series
    from sparsebench.bench.present.plots.history import draw
    from sparsebench.bench.present.plots.saving import save_figure
    from sparsebench.bench.present.report.history_page import history_page, latest
    from sparsebench.bench.present.tables.change_points import changes_table

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
    from rich.text import Text

    from sparsebench.bench.cli.console import show

    longest = max((len(series.runs) for series in found.series), default=0)
    lines = [f"{len(found.series)} series of machine {found.fingerprint}, up to {longest} runs"]
    lines += [f"  left out: {line}" for line in found.left_out]
    drawn = f"Drawn: {', '.join(str(path) for path in (*paths, page))}"
    few = f"Too few runs to find lasting changes: {longest} of {LEAST_RUNS}."
    none = few if longest < LEAST_RUNS else "No lasting change."
    changes = changes_table(points) if points else none
    before = (Text(line, no_wrap=True) for line in lines)
    show([*before, changes, Text(drawn, no_wrap=True)], form)
    raise typer.Exit(1 if worse else 0)
