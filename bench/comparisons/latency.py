"""Latency of single calls: p50, p90 and p99 of a record's samples, with intervals.

Throughput on full batches says little of how long one request waits. Where a sample is a request
(``inference`` at batch size 1, every call of ``serving``), its record holds the quantiles; p99
only where there are enough calls to bound it.
"""

from __future__ import annotations

from typing import Any

from sparsebench.bench.plan.workloads import described
from sparsebench.bench.records import Record
from sparsebench.bench.statistics.intervals import Interval
from sparsebench.bench.statistics.quantiles import blocked_quantile

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def is_request(record: Record) -> bool:
    """Whether a sample of a record is one request."""
    workload = described(record.workload)
    single = workload.engine_alone and record.engine.batch_size == 1
    return workload.takes_requests or single


def latency_of(record: Record) -> dict[str, Interval | None]:
    """Name of the quantile -> seconds with the interval; None where too few calls tell.

    Empty where a sample is no request, or nothing was measured.
    """
    if not is_request(record) or not record.trials:
        return {}
    blocks: dict[int, list[float]] = {}
    for trial in record.trials:
        blocks.setdefault(trial.block, []).extend(trial.seconds)
    return {name: blocked_quantile(list(blocks.values()), q) for name, q in QUANTILES.items()}


def latency_json(record: Record) -> dict[str, Any] | None:
    """As a record's ``extra["latency"]``: ``calls`` and, by quantile, ``seconds`` and ``ci95``."""
    found = latency_of(record)
    if not found:
        return None
    told: dict[str, Any] = {
        name: None if one is None else {"seconds": one.mid, "ci95": one.ci95}
        for name, one in found.items()
    }
    return {"calls": sum(len(trial.seconds) for trial in record.trials), **told}
