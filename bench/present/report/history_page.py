"""The trends of nightly runs as one HTML page, in the report's style."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from sparsebench.bench.comparisons.history.changepoints import LEAST_RUNS, ChangePoint
from sparsebench.bench.comparisons.history.series import History
from sparsebench.bench.present.report.page import asset, policy, templates
from sparsebench.bench.present.tables.change_points import changes_table


def history_page(history: History, points: Sequence[ChangePoint], pictures: Sequence[Path]) -> str:
    """The page; it asks the network for nothing.

    Args:
        history: of one machine.
        points: its lasting changes, oldest first.
        pictures: SVG files of the series, which become part of the page.
    """
    from markupsafe import Markup

    worse = sum(1 for point in latest(points) if point.change < 0)
    cells = "1 cell is" if worse == 1 else f"{worse} cells are"
    headline = f"{cells} at a worse level than before" if worse else "No cell has got worse"
    runs = max((len(series.runs) for series in history.series), default=0)
    if runs < LEAST_RUNS:
        headline = f"Too few runs to find lasting changes: {runs} of {LEAST_RUNS}"
    return (
        templates()
        .get_template("history.html.j2")
        .render(
            history=history,
            changes=changes_table(points).filled() if points else None,
            headline=headline,
            runs=len(history.runs),
            pictures=[base64.b64encode(path.read_bytes()).decode() for path in pictures],
            policy=policy([]),
            css=Markup(asset("report.css")),
        )
    )


def latest(points: Sequence[ChangePoint]) -> list[ChangePoint]:
    """The newest lasting change of each cell that has one; points are given oldest first."""
    return list({(point.name, point.kind): point for point in points}.values())
