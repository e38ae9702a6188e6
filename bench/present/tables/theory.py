"""What theory allows a cell, what was reached of it, and how many more errors the zeros make."""

from __future__ import annotations

from sparsebench.bench.present.table import DASH, Entry
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.rows import Row

HEADER = ("relative error increase", "bound", "efficiency")
MEANINGS = {
    "relative error increase": "The test errors of the sparse network over those of the dense one, "
    "minus 1.",
    "bound": "The speed-up on the same engine that theory allows, for inference the dense "
    "multiplications over the non-zero ones, for training Amdahl's law with the share of the dense "
    "time that zeros can shorten.",
    "efficiency": "The measured speed-up over the bound, with the interval of the speed-up.",
}
READING = " ".join(f"'{name.capitalize()}': {what[0].lower()}{what[1:]}"
                   for name, what in MEANINGS.items())  # fmt: skip


def error_increase(row: Row) -> tuple[str, str] | None:
    """Relative increase of the error with its interval; None where unknown."""
    told = row.comparison
    if told is None or told.relative_error_increase is None:
        return None
    return numbers.relative(told.relative_error_increase, told.relative_error_increase_ci95)


def bound(row: Row) -> str | None:
    """The largest speed-up: "1.64×"; None where unknown."""
    told = row.comparison
    if told is None or told.amdahl_bound is None:
        return None
    return f"{numbers.significant(told.amdahl_bound)}{numbers.TIMES}"


def of_bound(row: Row) -> tuple[str, str] | None:
    """Measured speed-up over the bound with its interval; None where one is unknown."""
    told = row.comparison
    if told is None or told.efficiency is None or told.amdahl_bound is None:
        return None
    interval = None if told.speedup is None else told.speedup.ci95
    if interval is None:
        return f"{told.efficiency:.2f}", numbers.NO_INTERVAL
    low, high = (end / told.amdahl_bound for end in interval)
    return f"{told.efficiency:.2f}", f"{low:.2f}{DASH}{high:.2f}"


def theory_entries(row: Row) -> tuple[Entry, ...]:
    """Under :data:`HEADER`; empty for a dense row."""
    told = row.comparison
    if told is None:
        return (Entry("", sort=None),) * len(HEADER)
    # Errors of generated weights say nothing.
    errors = error_increase(row) if row.record.backbone.trained else None
    most = bound(row)
    return (
        _entry(errors, told.relative_error_increase),
        Entry(most or DASH, sort=told.amdahl_bound),
        _entry(of_bound(row), told.efficiency),
    )


def _entry(pair: tuple[str, str] | None, sort: float | None) -> Entry:
    return Entry(DASH, sort=None) if pair is None else Entry(pair[0], f"({pair[1]})", sort)
