"""Several networks side by side, as the paper draws them from the models alone.

Sparsity, FLOPs, filters that are entirely zero, upstream accuracy; and layer by layer the
share of such filters. No clock is involved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sparsebench.bench.present import escape
from sparsebench.bench.why.inspection import Inspection

if TYPE_CHECKING:
    from rich.console import RenderableType


def accuracy(report: Inspection) -> float | None:
    """Upstream top-1, 0-1, None where unknown."""
    value = report.facts.get("upstream top-1")
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def label(report: Inspection) -> str:
    """A short name: of the backbone, or of the file without its folders."""
    if "backbone" in report.facts:
        head, at, source = str(report.facts["backbone"]).partition("@")
        return head + at + source.rpartition("/")[2]
    return report.target.rpartition("/")[2]


def dead_by_layer(report: Inspection) -> list[tuple[str, float]]:
    """Convolutions in the network's order, with their shares of all-zero filters, 0-1."""
    return [
        (layer.name, layer.dead_filters / layer.shape[0])
        for layer in report.layers
        if len(layer.shape) == 4
    ]


def totals(reports: Sequence[Inspection]) -> list[dict[str, Any]]:
    """One row a network, sparsest last: label, sparsity, flops_ratio, dead_filters, top1."""
    rows = [
        {
            "label": label(report),
            "sparsity": report.sparsity,
            "flops_ratio": report.flops_ratio,
            "dead_filters": report.dead_filters,
            "top1": accuracy(report),
        }
        for report in reports
    ]
    return sorted(rows, key=lambda row: row["sparsity"])


def _heads(labels: Sequence[str]) -> list[str]:
    """Labels for narrow columns: without what all begin with, the sparsity in a line of its own."""
    arch = labels[0].partition("/")[0] + "/"
    if all(one.startswith(arch) for one in labels):
        labels = [one.removeprefix(arch) for one in labels]
    return [re.sub(r"-(?=\d)", "\n-", one) for one in labels]


def render(reports: Sequence[Inspection]) -> Iterable[RenderableType]:
    """The two tables for the terminal."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("network", overflow="fold")
    for title in ("zeros", "FLOPs", "dead filters", "top-1"):
        table.add_column(title, justify="right")
    for row in totals(reports):
        table.add_row(
            escape.visible(row["label"]),
            f"{row['sparsity']:.2%}",
            "" if row["flops_ratio"] is None else f"{row['flops_ratio']:.3f}",
            f"{row['dead_filters']:.1%}",
            "" if row["top1"] is None else f"{row['top1']:.1%}",
        )
    yield table
    yield ""
    columns = [dict(dead_by_layer(report)) for report in reports]
    names = list(dict.fromkeys(name for column in columns for name in column))
    layers = Table(box=None, header_style="bold", pad_edge=False)
    layers.add_column("dead filters in", overflow="fold")
    for head in _heads([escape.visible(label(report)) for report in reports]):
        layers.add_column(escape.lines(head), justify="right", overflow="fold")
    for name in names:
        cells = [f"{column[name]:.1%}" if name in column else "" for column in columns]
        layers.add_row(escape.visible(name), *cells)
    yield layers
