"""What theory allows a cell, what was reached of it, and how many more errors the zeros make."""

from __future__ import annotations

from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.rows import Row

HEADER = ("relative error increase", "bound", "efficiency")
READING = (
    "'Relative error increase': the test errors of the sparse network over those of the dense "
    "one, minus 1. 'Bound': the speed-up on the same engine that theory allows, for inference "
    "the dense multiplications over the non-zero ones, for training Amdahl's law with the share of "
    "the dense time that zeros can shorten. 'Efficiency': the measured speed-up over the bound, "
    "with the interval of the speed-up."
)


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
    return f"{told.efficiency:.2f}", f"{low:.2f}{numbers.DASH}{high:.2f}"


def theory_cells(row: Row) -> tuple[str, str, str]:
    """As text under :data:`HEADER`; empty for a dense row."""
    if row.comparison is None:
        return ("", "", "")
    # Errors of generated weights say nothing.
    errors = error_increase(row) if row.record.backbone.trained else None
    return (_joined(errors), bound(row) or numbers.DASH, _joined(of_bound(row)))


def _joined(pair: tuple[str, str] | None) -> str:
    return numbers.DASH if pair is None else f"{pair[0]} ({pair[1]})"
