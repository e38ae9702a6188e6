"""The head of ``linear-cached``: what an epoch of it takes, and what a sweep chose.

The heads of all seeds train at once, so an epoch's time is theirs together. A curve over epochs
is not kept, hence no best epoch.
"""

from __future__ import annotations

from statistics import median

from sparsebench.bench.present.table import DASH, Table
from sparsebench.bench.present.tables.rows import Row, Section, row_table
from sparsebench.bench.records import Record

HEADER = ("s/epoch of the heads", "chosen weight decay", "trained by")
CAPTION = (
    "The heads: seconds of one epoch over the cached features, all seeds at once, median over "
    "blocks (none with a sweep, which shares the clock, or a solver without epochs); the weight "
    "decay that a sweep chose, over blocks."
)


def head_epoch_seconds(record: Record) -> float | None:
    """Seconds of one epoch of all seeds' heads, median over blocks; None where not told."""
    told = record.extra.get("head_seconds_per_epoch")
    return median(told) if told else None


def chosen_weight_decays(record: Record) -> list[float]:
    """What a sweep chose in the blocks, each value once; empty without a sweep."""
    return sorted({float(one) for one in record.extra.get("chosen_weight_decays") or ()})


def head_table(section: Section) -> Table | None:
    """One line a cell; None where no record tells of its head."""

    def cells(row: Row) -> tuple[str, ...] | None:
        seconds, decays = head_epoch_seconds(row.record), chosen_weight_decays(row.record)
        if seconds is None and not decays:
            return None
        how = row.record.extra.get("head") or {}
        return (
            DASH if seconds is None else f"{seconds:.3g}",
            ", ".join(f"{one:g}" for one in decays) or DASH,
            str(how.get("trained_by") or how.get("solver") or DASH),
        )

    return row_table(section, "heads", HEADER, cells, CAPTION)
