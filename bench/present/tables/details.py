"""What a script may want of a trained cell beyond the tables' columns: CSV and JSON share it."""

from __future__ import annotations

import math
from typing import Any

from sparsebench.bench.comparisons.training import curves_of
from sparsebench.bench.present.tables.head import chosen_weight_decays, head_epoch_seconds
from sparsebench.bench.present.tables.rows import Row
from sparsebench.bench.present.tables.training import accumulated, best_accuracy, best_epoch, never

DETAILS = (
    "accuracy_best_epoch_percent", "best_epoch", "seconds_per_epoch", "seconds_to_target",
    "target_percent", "missed_seeds", "trained_seeds", "break_even_epoch", "peak_memory_bytes",
    "accumulate", "accumulated_after_out_of_memory", "head_seconds_per_epoch",
    "chosen_weight_decays", "predicted_seconds", "prediction_basis",
    "processes", "gradient_bytes_per_step", "allreduce_seconds",
)  # fmt: skip
SHARED = DETAILS[-3:]
"""Of a training by several processes."""


def details_of(row: Row) -> dict[str, Any]:
    """Values by :data:`DETAILS`; None where unknown or not of this workload.

    Seconds; ``seconds_to_target`` is the median over seeds, infinite where most missed it;
    accuracies in per cent; ``best_epoch`` from 1, median over seeds; ``missed_seeds`` and
    ``chosen_weight_decays`` are lists.
    """
    extra, told = row.record.extra, row.training
    shared = extra.get("communication") or {}
    best = best_accuracy(row.record)
    target = None if told is None else told.get("target")
    return {
        "accuracy_best_epoch_percent": None if best is None else best.mean * 100,
        "best_epoch": best_epoch(row.record),
        "seconds_per_epoch": row.of_training("seconds_per_epoch"),
        "seconds_to_target": math.inf if never(row) else row.of_training("seconds_to_target"),
        "target_percent": None if target is None else target * 100,
        "missed_seeds": row.of_training("missed_seeds"),
        "trained_seeds": len(curves_of(row.record)) or None,
        "break_even_epoch": row.of_training("break_even_epoch"),
        "peak_memory_bytes": extra.get("peak_memory_bytes"),
        "accumulate": (extra.get("execution") or {}).get("accumulate"),
        "accumulated_after_out_of_memory": accumulated(row.record),
        "head_seconds_per_epoch": head_epoch_seconds(row.record),
        "chosen_weight_decays": chosen_weight_decays(row.record) or None,
        "predicted_seconds": extra.get("predicted_seconds"),
        "prediction_basis": extra.get("prediction_basis"),
        **{name: shared.get(name) for name in SHARED},
    }
