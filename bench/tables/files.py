"""summary.md and summary.csv."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.machine import describe_machine
from bench.records import Record
from bench.tables import numbers
from bench.tables.forecasts import Total, forecast_lines
from bench.tables.one_off import one_off_lines
from bench.tables.rows import Row, Section
from bench.tables.training import markdown_lines
from bench.tables.winners import winner_lines
from bench.tables.wording import (
    BEST_DENSE,
    PARTNER,
    SPEED_ONLY,
    caption,
    how_to_read,
    seen_words,
    speed_header,
    warnings,
)


def summary_markdown(
    name: str, found: Sequence[Section], records: Sequence[Record], total: Total | None = None
) -> str:
    """The run as Markdown.

    Args:
        name: of the run.
        found: its tables.
        records: all of the run, for the machine and the warnings.
        total: seconds of the whole run, predicted and measured.
    """
    lines = [f"# {name}", ""]
    machines = dict.fromkeys(describe_machine(record.machine) for record in records)
    lines += [f"Measured on {machine}." for machine in machines]
    for section in found:
        lines += ["", f"## {section.workload} on {section.task}", "", f"{section.settings}.", ""]
        if section.rows:
            lines += [*_table(section), "", caption(section)]
            lines += [f"\n> {note}" for note in section.notes]
            lines += markdown_lines(section)
            lines += one_off_lines(section)
        else:
            lines.append("Nothing was measured.")
        if section.missing:
            lines += ["", "Without numbers:", ""]
            lines += [f"- `{name}`: {_one_line(reason)}" for name, reason in section.missing]
    if winners := winner_lines(found):
        lines += ["", "## Who wins", "", *(f"- {line}" for line in winners)]
    if any(section.rows for section in found):
        lines += ["", how_to_read(found)]
    lines += forecast_lines(found, total)
    for text in warnings(records):
        lines += ["", f"**{text}**"]
    return "\n".join(lines) + "\n"


def summary_csv(found: Sequence[Section]) -> str:
    """The run as CSV: one line a measured cell, points and ends of intervals in columns."""
    import pandas as pd

    rows = [_record(section, row) for section in found for row in section.rows]
    text: str = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False)
    return text


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
)  # fmt: skip


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
        "sparsity": record.backbone.sparsity,
        "trained": record.backbone.trained,
        "engine": record.engine.name,
        "engine_version": record.engine.version,
        "device": record.engine.device,
        "precision": record.engine.precision,
        "threads": record.engine.threads,
        "batch_size": record.engine.batch_size,
        "blocks": row.speed.count,
        "verdict": row.verdict,
        "verdict_best_dense": row.total_verdict,
        "record": record.id,
        "run": record.run,
    }
    values |= _ends(speed, row.speed.mid, row.speed.ci95)
    if accuracy is not None:
        ends = None if accuracy.ci95 is None else tuple(100 * end for end in accuracy.ci95)
        values |= _ends("accuracy", accuracy.mean * 100, ends, unit="_percent")
    if row.delta is not None:
        values |= _ends("accuracy_change", row.delta.mean, row.delta.ci95, unit="_points")
    if record.backbone.is_dense:
        values |= _ends("speedup_same_engine", 1.0, (1.0, 1.0))
    if row.speedup is not None:
        values |= _ends("speedup_same_engine", row.speedup.median, row.speedup.ci95)
    if row.best:
        values |= _ends("speedup_best_dense", 1.0, (1.0, 1.0))
    if row.total is not None:
        values |= _ends("speedup_best_dense", row.total.median, row.total.ci95)
    if comparison is not None:
        values |= {
            "smallest_effect": comparison.smallest_effect,
            "amdahl_bound": comparison.amdahl_bound,
            "efficiency": comparison.efficiency,
        }
    return values


def _ends(
    name: str, point: float, ends: tuple[float, ...] | None, unit: str = ""
) -> dict[str, float | None]:
    low, high = ends or (None, None)
    return {f"{name}{unit}": point, f"{name}_low": low, f"{name}_high": high}


def _table(section: Section) -> list[str]:
    header = [
        "backbone", "engine", "accuracy %", "change", speed_header(section),
        "same engine", "best dense", "verdict", "sees",
    ]  # fmt: skip
    lines = [header, ["---", "---", *["---:"] * 5, "---", "---:"]]
    lines += [_cells(row) for row in section.rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _cells(row: Row) -> list[str]:
    trained, dense = row.record.backbone.trained, row.record.backbone.is_dense
    accuracy = " ".join(numbers.percent(row.accuracy)) if row.accuracy else numbers.DASH
    change = " ".join(numbers.points(row.delta)) if row.delta else numbers.DASH
    if dense:
        change = PARTNER
    return [
        row.record.backbone.name,
        row.engine,
        accuracy if trained else SPEED_ONLY,
        change if trained else SPEED_ONLY,
        " ".join(numbers.speed(row.speed)),
        PARTNER if dense else _bracketed(numbers.ratio(row.speedup) if row.speedup else None),
        BEST_DENSE if row.best else _bracketed(numbers.ratio(row.total) if row.total else None),
        row.verdict or "",
        seen_words(row),
    ]


def _bracketed(pair: tuple[str, str] | None) -> str:
    return numbers.DASH if pair is None else f"{pair[0]} ({pair[1]})"


def _one_line(text: str) -> str:
    return " ".join(text.split())
