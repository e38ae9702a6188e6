"""What the processes of a training sent each other: one table, beside the training's own."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.bench.present.table import Entry, Table
from sparsebench.bench.present.tables.rows import Row, Section, row_table

HEADER = (
    "processes", "sent a step", "all gradients", "all-reduce ms", "of all gradients ms",
    "batch norm a step",
)  # fmt: skip
CAPTION = (
    "What each process gives to the all-reduce of a step: the gradients of the non-zeros, of a "
    "dense network all. All-reduce: packing, sum and unpacking of them alone, all processes "
    "beginning together, the least of 9 rounds; beside it the same of all gradients."
)


def communication_table(section: Section) -> Table | None:
    """Bytes and milliseconds of a step; None where every training had one process."""

    def cells(row: Row) -> Sequence[str | Entry] | None:
        told = row.record.extra.get("communication")
        if not told:
            return None
        return (
            f"{told['processes']} {told['backend']}",
            _bytes(told["gradient_bytes_per_step"]),
            _bytes(told["whole_gradient_bytes"]),
            f"{told['allreduce_seconds'] * 1e3:.3g}",
            f"{told['whole_allreduce_seconds'] * 1e3:.3g}",
            f"{_bytes(told['statistics_bytes_per_step'])} {told['batch_norm']}",
        )

    return row_table(section, "communication", HEADER, cells, CAPTION)


def _bytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB"
