"""What a cell takes besides time, and how long one request waits: latency, memory, disk, energy.

The terminal shows latency, where a sample is a request; the rest stands in summary.md, the
report, summary.csv and the plot's hover.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from sparsebench.bench.comparisons.latency import QUANTILES, latency_of
from sparsebench.bench.machine.energy import JOULES, NOT_READABLE
from sparsebench.bench.present.table import DASH, Table
from sparsebench.bench.present.tables.numbers import significant
from sparsebench.bench.present.tables.rows import Row, Section, row_table
from sparsebench.bench.records import MODEL_BYTES, PEAK_MEMORY, Record
from sparsebench.bench.statistics import Interval

LATENCY_HEADER = ("p50 ms", "p90 ms", "p99 ms", "calls")
LATENCY_CAPTION = (
    "Latency of one request, milliseconds, with its 95% interval: over calls (order statistics), "
    "or over blocks where that is wider. A quantile without a number had too few calls (p99 needs "
    "368)."
)
HEADER = (
    "peak memory MB", "disk: dense MB", "disk: sparse MB", "disk: compressed MB", "J/image",
)  # fmt: skip
CAPTION = (
    "Peak memory: largest resident set of the process that ran the network, shared pages and its "
    "libraries included. On disk: the fp32 ONNX file as it is (zeros stored), with the non-zeros "
    "and one bit a weight instead, and after deflate. "
)
ENERGY_CAPTION = "Energy: of the whole processor package."
NO_ENERGY_CAPTION = "Energy is not readable on this machine."
RESOURCES = (
    *(f"latency_{name}_seconds{end}" for name in QUANTILES for end in ("", "_low", "_high")),
    "model_bytes_dense", "model_bytes_sparse", "model_bytes_compressed", "energy_joules_per_image",
)  # fmt: skip
"""Columns of summary.csv."""


def resources_of(record: Record) -> dict[str, float | None]:
    """Values by :data:`RESOURCES`; None where unknown."""
    found: dict[str, float | None] = dict.fromkeys(RESOURCES)
    for name, one in latency_of(record).items():
        if one is not None:
            values = zip(("", "_low", "_high"), (one.mid, one.low, one.high), strict=True)
            found |= {f"latency_{name}_seconds{end}": value for end, value in values}
    for form, count in (record.extra.get(MODEL_BYTES) or {}).items():
        found[f"model_bytes_{form}"] = count
    found["energy_joules_per_image"] = energy_of(record)
    return found


def resources_json(record: Record) -> dict[str, Any]:
    """For a script: peak memory, sizes on disk, energy; None, or the reason, where unknown."""
    return {
        PEAK_MEMORY: record.extra.get(PEAK_MEMORY),
        MODEL_BYTES: record.extra.get(MODEL_BYTES),
        "energy_joules_per_image": energy_of(record),
        "energy": None if energy_of(record) is not None else NOT_READABLE,
    }


def energy_of(record: Record) -> float | None:
    """Joules an image, median over blocks; None where it could not be read."""
    known = [one for one in record.extra.get(JOULES) or () if one is not None]
    return median(known) if known else None


def memory_text(record: Record) -> str:
    """Peak resident memory in megabytes."""
    return _megabytes(record.extra.get(PEAK_MEMORY))


def disk_text(record: Record) -> str:
    """Sizes on disk in megabytes, in one line."""
    told = record.extra.get(MODEL_BYTES) or {}
    words = [f"{_megabytes(count)} MB {form}" for form, count in told.items()]
    return ", ".join(words) or DASH


def energy_text(record: Record) -> str:
    """Joules an image, or that it cannot be read."""
    joules = energy_of(record)
    return NOT_READABLE if joules is None else significant(joules)


def latency_table(section: Section) -> Table | None:
    """One line a cell; None where no sample is a request."""

    def cells(row: Row) -> tuple[str, ...] | None:
        found = latency_of(row.record)
        calls = sum(len(trial.seconds) for trial in row.record.trials)
        return (*map(_milliseconds, found.values()), f"{calls:,}") if found else None

    return row_table(section, "latency", LATENCY_HEADER, cells, LATENCY_CAPTION)


def resource_table(section: Section) -> Table | None:
    """One line a cell; None where no record tells. Without energy its column is left out."""
    readable = any(energy_of(row.record) is not None for row in section.rows)
    caption = CAPTION + (ENERGY_CAPTION if readable else NO_ENERGY_CAPTION)

    def cells(row: Row) -> tuple[str, ...] | None:
        extra = row.record.extra
        told = extra.get(MODEL_BYTES) or {}
        if not told and extra.get(PEAK_MEMORY) is None:
            return None
        sizes = [_megabytes(told.get(form)) for form in ("dense", "sparse", "compressed")]
        energy = energy_text(row.record) if readable else DASH
        return memory_text(row.record), *sizes, energy

    title = "memory, disk, energy" if readable else "memory, disk"
    return row_table(section, title, HEADER, cells, caption)


def _milliseconds(one: Interval | None) -> str:
    if one is None:
        return DASH
    point, low, high = (significant(value * 1e3) for value in (one.mid, one.low, one.high))
    return f"{point} ({low}{DASH}{high})"


def _megabytes(count: float | None) -> str:
    return DASH if count is None else significant(count / 1e6)
