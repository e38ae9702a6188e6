"""Several networks side by side, as the paper draws them from the models alone.

Sparsity, FLOPs, filters that are entirely zero, upstream accuracy; and layer by layer the
share of such filters. No clock is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsebench.bench.present.table import Table
from sparsebench.bench.why.inspection import Inspection


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
    """Labels for narrow columns: without what all begin with."""
    arch = labels[0].partition("/")[0] + "/"
    return [one.removeprefix(arch) if all(o.startswith(arch) for o in labels) else one
            for one in labels]  # fmt: skip


def render(reports: Sequence[Inspection]) -> tuple[Table, Table]:
    """The networks, and their all-zero filters layer by layer."""
    networks = Table.of(
        "", ("network", "zeros", "FLOPs", "dead filters", "top-1"),
        (
            (row["label"], f"{row['sparsity']:.2%}",
             "" if row["flops_ratio"] is None else f"{row['flops_ratio']:.3f}",
             f"{row['dead_filters']:.1%}", "" if row["top1"] is None else f"{row['top1']:.1%}")
            for row in totals(reports)
        ),
    )  # fmt: skip
    columns = [dict(dead_by_layer(report)) for report in reports]
    names = dict.fromkeys(name for column in columns for name in column)
    layers = Table.of(
        "", ("dead filters in", *_heads([label(report) for report in reports])),
        ((name, *(f"{column[name]:.1%}" if name in column else "" for column in columns))
         for name in names),
    )  # fmt: skip
    return networks, layers
