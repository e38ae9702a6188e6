"""Lasting changes of a machine's ratios as a table."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.bench.comparisons.history.changepoints import ChangePoint
from sparsebench.bench.present.table import Entry, Table


def changes_table(points: Sequence[ChangePoint]) -> Table:
    """A line a change, the newest first."""
    header = ("cell", "since", "change", "before", "after", "p", "engine")
    rows = [
        (
            point.name, f"since {point.run} ({point.created[:10]})",
            Entry(f"{point.change:+.1%}", tone="worse" if point.change < 0 else "better"),
            f"{point.before:.2f}×", f"{point.after:.2f}×", f"{point.p:.2g}",
            " → ".join(map(str, point.versions or ())),
        )
        for point in reversed(points)
    ]  # fmt: skip
    return Table.of("Lasting changes", header, rows, words=2)
