"""Every measured cell of a run as the report shows it: its row, its text, its command."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.comparisons import best_dense
from sparsebench.bench.comparisons.latency import latency_json
from sparsebench.bench.plan.rerun_command import run_words
from sparsebench.bench.present import escape
from sparsebench.bench.present.report.runs import RunFacts
from sparsebench.bench.present.tables import Row, Section
from sparsebench.bench.present.tables.details import details_of
from sparsebench.bench.present.tables.forecasts import measured_seconds
from sparsebench.bench.present.tables.resources import resources_json
from sparsebench.bench.present.tables.wording import speed_header
from sparsebench.bench.records import PEAK_MEMORY, Delta, Estimate, Record


@dataclass(frozen=True)
class Cell:
    """One measured cell.

    Args:
        run: label of its run.
        section: the table that it stands in.
        row: its numbers.
        partner: backbone of its dense baseline; its own where it is dense.
        command: shell line that repeats it; None where the run has no plan.
    """

    run: str
    section: Section
    row: Row
    partner: str
    command: str | None

    @property
    def record(self) -> Record:
        """What was measured."""
        return self.row.record

    @property
    def is_dense(self) -> bool:
        """Whether it is a dense backbone."""
        return self.record.backbone.is_dense

    @property
    def name(self) -> str:
        """Backbone and engine in words."""
        return f"{self.record.backbone.name} on {self.row.engine}"

    @property
    def seconds(self) -> float:
        """Seconds an image or end to end: what speeds are ranked by."""
        return 1 / self.row.speed.mid if self.section.throughput else self.row.speed.mid

    def to_json(self) -> dict[str, Any]:
        """The cell for a script; every ratio with its interval, beside the accuracy change."""
        record, row = self.record, self.row
        backbone, engine = record.backbone, record.engine
        return {
            "run": self.run,
            "record": record.id,
            "workload": record.workload,
            "task": record.task.name,
            "backbone": backbone.name,
            "arch": backbone.arch,
            "method": backbone.method,
            "family": backbone.family,
            "sparsity": backbone.zeros,
            "sparsity_label": backbone.sparsity,
            "trained": backbone.trained,
            "dense_partner": self.partner,
            "engine": engine.name,
            "engine_version": engine.version,
            "device": engine.device,
            "precision": engine.precision,
            "threads": engine.threads,
            "batch_size": engine.batch_size,
            "speed": {
                "unit": speed_header(self.section),
                "median": row.speed.mid,
                "ci95": _pair(row.speed.ci95),
                "blocks": row.speed.count,
            },
            "accuracy_percent": None if row.accuracy is None else row.accuracy.mean * 100,
            "accuracy_change_points": delta_json(row.delta),
            "speedup_same_engine": estimate_json(row.speedup),
            "speedup_best_dense": estimate_json(row.total),
            "speedup_best_fp32_dense": estimate_json(row.total_fp32),
            "is_best_dense": row.best,
            "verdict": row.verdict,
            "verdict_best_dense": row.total_verdict,
            **_theory_json(row),
            "speedup_by_process_time": estimate_json(
                None if row.comparison is None else row.comparison.process_speedup
            ),
            "latency": latency_json(record),
            "resources": resources_json(record),
            "training": _training_json(row),
            "forecast": _forecast_json(record),
            "notes": list(row.comparison.notes) if row.comparison else [],
            "repeat": self.command,
        }


def _theory_json(row: Row) -> dict[str, Any]:
    """Fractions and ratios; null for a dense cell and where unknown."""
    told = row.comparison
    return {
        "relative_error_increase": None if told is None else told.relative_error_increase,
        "amdahl_bound": None if told is None else told.amdahl_bound,
        "bound_from": None if told is None else told.bound_from,
        "efficiency": None if told is None else told.efficiency,
    }


def _training_json(row: Row) -> dict[str, Any] | None:
    """Step-by-step training or the head: what the tables say of it; never infinite."""
    told = {key: value for key, value in details_of(row).items() if not key.startswith("predict")}
    if told["seconds_to_target"] is not None and math.isinf(told["seconds_to_target"]):
        told["seconds_to_target"] = None
    trained = any(value is not None for key, value in told.items() if key != PEAK_MEMORY)
    return told if trained else None


def _forecast_json(record: Record) -> dict[str, Any] | None:
    """One trial (one engine call of `inference`): predicted before the run, and measured."""
    if "predicted_seconds" not in record.extra:
        return None
    return {
        "predicted_seconds": record.extra["predicted_seconds"],
        "measured_seconds": measured_seconds(record),
        "basis": record.extra.get("prediction_basis"),
    }


def cells_of(run: RunFacts) -> list[Cell]:
    """All measured cells of a run, in the order of its tables."""
    return [_cell(run, section, row) for section in run.sections for row in section.rows]


def estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    """A ratio for a script."""
    if estimate is None:
        return None
    return {
        "median": estimate.median,
        "ci95": _pair(estimate.ci95),
        "blocks": estimate.blocks,
    }


def delta_json(delta: Delta | None) -> dict[str, Any] | None:
    """A change in points for a script."""
    if delta is None:
        return None
    return {
        "mean": delta.mean,
        "ci95": _pair(delta.ci95),
        "ci95_seeds": _pair(delta.ci95_seeds),
        "over": delta.over,
        "unequal_budgets": delta.unequal_budgets,
    }


def _pair(ends: Sequence[float] | None) -> list[float] | None:
    return None if ends is None else list(ends)


def _cell(run: RunFacts, section: Section, row: Row) -> Cell:
    record = row.record
    best = row.comparison.best_dense if row.comparison else _best(run, record)
    dense = row.comparison.dense if row.comparison else None
    engine = record.engine
    engines = [engine] + ([run.record(best).engine] if best else [])
    partner = record.backbone.name if record.backbone.is_dense else record.backbone.dense_partner
    if dense is not None:
        partner = run.record(dense).backbone.name
    command = None
    if run.plan is not None:
        words = run_words(
            run.path,
            workload=record.workload,
            task=record.task.name,
            backbone=record.backbone.name,
            engines=[(one.name, one.precision) for one in engines],
            settings={
                "batch_size": engine.batch_size,
                "threads": engine.threads,
                "size": record.settings.get("size"),
            },
        )
        command = escape.shell([*words, "--out", f"{run.path}-again"])
    return Cell(run.label, section, row, partner or f"{record.backbone.arch}/dense", command)


def _best(run: RunFacts, record: Record) -> str | None:
    """The dense record that a dense cell's total was taken against."""
    best = best_dense(record, run.records, run.times)
    return None if best is None else best.id
