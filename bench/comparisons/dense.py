"""The best dense engine of a run, and how the other dense cells stand against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparsebench.bench.comparisons.family import Verdict, corrected_verdicts
from sparsebench.bench.comparisons.matching import differing_keys, indexed
from sparsebench.bench.comparisons.times import CellTimes, ratio_of_cells
from sparsebench.bench.records import Estimate, Record
from sparsebench.bench.statistics import RatioEstimate

REFERENCE_PRECISION = "fp32"


def dense_peers(partner: Record, records: Sequence[Record]) -> list[Record]:
    """Measured dense records that a total may be taken against.

    The baseline's backbone on any engine and in any precision, on the same device, threads, batch
    size, task and settings: what an expert would run without zeros. Each has its own accuracy.
    """
    records = indexed(records)
    # Another precision is measured in the open division.
    free = (
        "engine.name",
        "engine.version",
        "engine.runs_itself",
        "engine.options",
        "engine.precision",
        "division",
    )

    def find() -> list[Record]:
        return [
            record
            for record in records.of(partner)
            if record.status == "ok" and not differing_keys(partner, record, ignore=free)
        ]

    return records.once("dense peers", partner, find)


def best_dense(
    partner: Record, records: Sequence[Record], times: Mapping[str, CellTimes]
) -> Record | None:
    """The dense record with the highest throughput among the baseline's peers.

    One with too few blocks for an interval (`CellTimes.is_enough`) comes after all others: where
    all are so, the fastest by its point is what totals refer to, and no "best dense".

    Args:
        partner: the dense baseline (or any dense record) that asks.
        records: all of the run.
        times: record id -> times.

    Returns:
        None where no peer has a time.
    """
    peers = [
        record
        for record in dense_peers(partner, records)
        if record.id in times and times[record.id].blocks
    ]
    return min(
        peers,
        key=lambda record: (not times[record.id].is_enough, times[record.id].level.mid),
        default=None,
    )


def dense_against_best(
    record: Record, records: Sequence[Record], times: Mapping[str, CellTimes]
) -> RatioEstimate | None:
    """The best dense engine's time over that of a dense cell; None for the best one itself.

    Also None without a common block.
    """
    best = best_dense(record, records, times)
    if best is None or best.id == record.id:
        return None
    return ratio_of_cells(times[best.id], times[record.id])


def dense_totals(
    records: Sequence[Record], times: Mapping[str, CellTimes]
) -> dict[str, tuple[Estimate, Verdict | None]]:
    """Dense record id -> its total and the verdict on it, corrected over all dense totals."""
    records = indexed(records)
    found = {
        record.id: dense_against_best(record, records, times)
        for record in records
        if record.backbone.is_dense and record.id in times
    }
    totals = {
        key: Estimate(ratio.median, ratio.ci95, ratio.blocks)
        for key, ratio in found.items()
        if ratio is not None
    }
    verdicts = corrected_verdicts(list(totals.values()))
    return dict(zip(totals, zip(totals.values(), verdicts, strict=True), strict=True))
