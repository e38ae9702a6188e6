"""summary.csv: one line a measured cell, points and ends of intervals in columns of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sparsebench.bench.present import escape
from sparsebench.bench.present.tables.details import DETAILS, details_of
from sparsebench.bench.present.tables.numbers import NO_INTERVAL
from sparsebench.bench.present.tables.resources import RESOURCES, resources_of
from sparsebench.bench.present.tables.rows import Row, Section
from sparsebench.bench.statistics.ratios import LEAST_BLOCKS

if TYPE_CHECKING:
    import pandas as pd

NEEDED = f"that takes {LEAST_BLOCKS} blocks"
PROCESS = tuple(f"speedup_by_process_time{end}" for end in ("", "_low", "_high"))
COLUMNS = (
    "workload", "task", "backbone", "method", "family", "sparsity", "trained", "engine",
    "engine_version", "device", "precision", "threads", "batch_size",
    "accuracy_percent", "accuracy_low", "accuracy_high",
    "accuracy_change_points", "accuracy_change_low", "accuracy_change_high",
    "pictures_per_second", "pictures_per_second_low", "pictures_per_second_high",
    "seconds", "seconds_low", "seconds_high", "blocks",
    "speedup_same_engine", "speedup_same_engine_low", "speedup_same_engine_high",
    "speedup_best_dense", "speedup_best_dense_low", "speedup_best_dense_high",
    "smallest_effect", "amdahl_bound", "efficiency", "verdict", "verdict_best_dense",
    "record", "run",
    "relative_error_increase", "relative_error_increase_low", "relative_error_increase_high",
    *DETAILS, *RESOURCES, *PROCESS, "sparsity_label",
    *(f"speedup_best_fp32_dense{end}" for end in ("", "_low", "_high")),
    "interval",
)  # fmt: skip
"""Later ones come last: a script may go by position."""


def summary_frame(found: Sequence[Section]) -> pd.DataFrame:
    """One row a measured cell; points and ends of intervals are columns of their own."""
    import pandas as pd

    rows = [_record(section, row) for section in found for row in section.rows]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summary_csv(found: Sequence[Section]) -> str:
    """The rows of :func:`summary_frame` as CSV; names are made safe for spreadsheets."""
    text: str = summary_frame(found).map(escape.csv_cell).to_csv(index=False)
    return text


def _record(section: Section, row: Row) -> dict[str, Any]:
    record, comparison = row.record, row.comparison
    speed = "pictures_per_second" if section.throughput else "seconds"
    accuracy = row.accuracy
    values: dict[str, Any] = {
        "workload": record.workload,
        "task": record.task.name,
        "backbone": record.backbone.name,
        "method": record.backbone.method,
        "family": record.backbone.family,
        "sparsity": record.backbone.zeros,
        "sparsity_label": record.backbone.sparsity,
        "trained": record.backbone.trained,
        "engine": record.engine.label,
        "engine_version": record.engine.version,
        "device": record.engine.device,
        "precision": record.engine.precision,
        "threads": record.engine.threads,
        "batch_size": record.engine.batch_size,
        "blocks": row.speed.count,
        "interval": None if row.speed.ci95 else f"{NO_INTERVAL}: {NEEDED}",
        "verdict": row.verdict,
        "verdict_best_dense": row.total_verdict,
        "record": record.id,
        "run": record.run,
    }
    values |= _ends(speed, row.speed.mid, row.speed.ci95)
    values |= {name: _plain(value) for name, value in details_of(row).items()}
    values |= resources_of(record)
    if accuracy is not None:
        ends = None if accuracy.ci95 is None else tuple(100 * end for end in accuracy.ci95)
        values |= _ends("accuracy", accuracy.mean * 100, ends, unit="_percent")
    if row.delta is not None:
        values |= _ends("accuracy_change", row.delta.mean, row.delta.ci95, unit="_points")
    if record.backbone.is_dense:
        values |= _ends("speedup_same_engine", 1.0, (1.0, 1.0))
    if row.speedup is not None:
        values |= _ends("speedup_same_engine", row.speedup.median, row.speedup.ci95)
    if row.reference:
        values |= _ends("speedup_best_dense", 1.0, (1.0, 1.0))
    if row.total is not None:
        values |= _ends("speedup_best_dense", row.total.median, row.total.ci95)
    if row.total_fp32 is not None:
        values |= _ends("speedup_best_fp32_dense", row.total_fp32.median, row.total_fp32.ci95)
    if comparison is not None:
        if (process := comparison.process_speedup) is not None:
            values |= _ends("speedup_by_process_time", process.median, process.ci95)
        values |= {
            "smallest_effect": comparison.smallest_effect,
            "amdahl_bound": comparison.amdahl_bound,
            "efficiency": comparison.efficiency,
        }
        if comparison.trained and comparison.relative_error_increase is not None:
            ends = comparison.relative_error_increase_ci95
            increase = comparison.relative_error_increase
            values |= _ends("relative_error_increase", increase, ends)
    return values


def _plain(value: Any) -> Any:
    """A list in one field."""
    return " ".join(f"{one:g}" for one in value) if isinstance(value, list) else value


def _ends(
    name: str, point: float, ends: tuple[float, ...] | None, unit: str = ""
) -> dict[str, float | None]:
    low, high = ends or (None, None)
    return {f"{name}{unit}": point, f"{name}_low": low, f"{name}_high": high}
