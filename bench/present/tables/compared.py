"""`sparsebench compare` as rich renderables."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sparsebench.bench.comparisons import ComparisonOfRuns
from sparsebench.bench.present import escape
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.terminal import STYLES


def compared_tables(result: ComparisonOfRuns) -> list[RenderableType]:
    """The cells of both sides, what only one has, and how to read it."""
    table = Table(
        title=escape.visible(f"{result.b} against {result.a}"), title_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    table.add_column("cell", overflow="fold")
    table.add_column(f"ratio of {result.of}", justify="right", min_width=9)
    table.add_column("accuracy change (pp)", justify="right", min_width=9)
    table.add_column("verdict")
    for cell in result.cells:
        change = cell.accuracy_change
        words = cell.verdict or (cell.status if cell.status != "ok" else "dense")
        table.add_row(
            Text(escape.visible(cell.cell)),
            Text(" ".join(numbers.ratio(cell.ratio)) if cell.ratio else DASH),
            Text(" ".join(numbers.points(change)) if change else DASH),
            Text(escape.visible(words), style=STYLES.get(cell.verdict or "", "")),
        )
    parts: list[RenderableType] = [table]
    parts += [
        Text(escape.visible(f"{cell.cell}: {cell.reason}")) for cell in result.cells if cell.reason
    ]
    for name, only in ((result.a, result.only_a), (result.b, result.only_b)):
        if only:
            parts.append(Text(escape.visible(f"Only in {name}: {', '.join(only)}.")))
    return parts + [Text(escape.visible(note), style="dim") for note in result.notes]


DASH = numbers.DASH
