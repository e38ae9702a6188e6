"""`sparsebench compare A B`: two runs, or two cells of one run.

Two runs are compared by their *speed-ups*, each measured inside its own run against its own
dense baseline, so that a machine that was slower on the second day cancels. Times of different
runs are never divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparsebench.bench.comparisons.accuracy_change import accuracy_of, change_between
from sparsebench.bench.comparisons.busy import busy
from sparsebench.bench.comparisons.family import corrected_verdicts
from sparsebench.bench.comparisons.matching import (
    describe,
    differing_keys,
    indexed,
    refuse_differences,
)
from sparsebench.bench.comparisons.times import CellTimes, by_cell, ratio_of_cells, run_times
from sparsebench.bench.comparisons.within_run import compare_run
from sparsebench.bench.records import Comparison, Delta, Estimate, Record, RunFolder
from sparsebench.bench.records.plain import plain
from sparsebench.bench.statistics import RatioEstimate, chain_ratios
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError

ACROSS_RUNS = ("engine.version", "engine.options")
ACROSS_MACHINES = ("machine.fingerprint", "machine.gpus")
ACROSS_CELLS = (
    "backbone.arch",
    "engine.name",
    "engine.version",
    "engine.device",
    "engine.precision",
    "engine.options",
)


@dataclass(frozen=True)
class ComparedCell:
    """One cell on both sides.

    Args:
        cell: the cell in words.
        workload: of both sides.
        ratio: between runs, speed-up in B over speed-up in A; between cells of a run, time of
            A over time of B. Above 1: B is better. None where it could not be had.
        verdict: of the ratio, for B, corrected (Holm) for all cells that are compared.
        accuracy_change: percentage points, B minus A.
        status: "ok" or "failed".
        reason: why it is not ok, or what to know about it.
        metric: that the change is one of; None where unknown.
    """

    cell: str
    workload: str
    ratio: Estimate | None
    verdict: str | None
    accuracy_change: Delta | None
    status: str = "ok"
    reason: str | None = None
    metric: str | None = None


@dataclass(frozen=True)
class ComparisonOfRuns:
    """Everything that `compare` found.

    Args:
        a: name of the first side.
        b: name of the second side.
        of: "speed-ups" (two runs) or "times" (two cells of a run).
        cells: what both sides have.
        only_a: cells that only A has, in words.
        only_b: cells that only B has.
        notes: what to know when reading it.
    """

    a: str
    b: str
    of: str
    cells: tuple[ComparedCell, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        result: dict[str, Any] = plain(self)
        return result


def compare_folders(
    a: RunFolder, b: RunFolder, *, across_machines: bool = False
) -> ComparisonOfRuns:
    """Compare the speed-ups and accuracies of two runs, cell by cell.

    Args:
        a: the earlier or reference run.
        b: the other run.
        across_machines: compare ratios although the machines differ.

    Raises:
        SparsebenchError: must-match keys of a cell differ; lists them.
        NothingMeasuredError: the runs have no cell in common.
    """
    left, right = _Side(a), _Side(b)
    common = [key for key in left.cells if key in right.cells]
    if not common:
        raise NothingMeasuredError(
            f"{a.path} and {b.path} have no cell in common.",
            "Compare runs of the same plan, or two cells of one run.",
        )
    ignore = (*ACROSS_RUNS, *(ACROSS_MACHINES if across_machines else ()))
    for key in common:
        refuse_differences(left.cells[key], right.cells[key], ignore)
    notes = [
        f"The ratio is that of the speed-ups, {b.name} over {a.name}: above 1, {b.name} gains more."
    ]
    first = (left.cells[common[0]], right.cells[common[0]])
    if across_machines and differing_keys(*first, ignore=ACROSS_RUNS):
        notes.append("The runs are from different machines: ratios only, no times.")
    notes += [
        f"{side.name}: {found.sentence}"
        for side in (left, right)
        if (found := busy(side.records, side.trials))
    ]
    versions = {
        f"{left.cells[key].engine.name} {left.cells[key].engine.version} against "
        f"{right.cells[key].engine.version}"
        for key in common
        if left.cells[key].engine.version != right.cells[key].engine.version
    }
    notes += [f"Engine versions differ: {one}." for one in sorted(versions)]
    return ComparisonOfRuns(
        a=a.name,
        b=b.name,
        of="speed-ups",
        cells=_judged([_compared_speedups(key, left, right) for key in common]),
        only_a=tuple(describe(r) for key, r in left.cells.items() if key not in right.cells),
        only_b=tuple(describe(r) for key, r in right.cells.items() if key not in left.cells),
        notes=tuple(notes),
    )


def compare_within(folder: RunFolder, a: str, b: str) -> ComparisonOfRuns:
    """Compare two records of one run by id, or two backbones cell by cell.

    Args:
        folder: the run.
        a: record id or backbone name.
        b: the same for the other side.

    Raises:
        UnknownNameError: the run has neither such a record nor such a backbone.
        SparsebenchError: must-match keys differ; lists them.
        NothingMeasuredError: the two have no cell in common.
    """
    records = indexed(folder.records())
    pairs = _pairs(records, a, b)
    if not pairs:
        raise NothingMeasuredError(
            f"{a} and {b} have no engine and workload in common in this run.",
            "Compare two records by their ids (`records.jsonl`).",
        )
    for one, two in pairs:
        refuse_differences(one, two, ACROSS_CELLS)
    times = run_times(records, by_cell(folder.trials()))
    cells = _judged([_compared_times(one, two, records, times) for one, two in pairs])
    notes = (f"The ratio is that of the times, {a} over {b}: above 1, {b} is faster.",)
    return ComparisonOfRuns(a=a, b=b, of="times", cells=cells, notes=notes)


def _judged(cells: Sequence[ComparedCell]) -> tuple[ComparedCell, ...]:
    """The cells with their verdicts: those of a family."""
    verdicts = corrected_verdicts([cell.ratio for cell in cells])
    return tuple(replace(c, verdict=word) for c, word in zip(cells, verdicts, strict=True))


class _Side:
    """One run: its cells by identity, and their comparisons."""

    def __init__(self, folder: RunFolder) -> None:
        self.name = folder.name
        self.records, self.trials = indexed(folder.records()), folder.trials()
        self.cells = {_identity(record): record for record in self.records}
        compared = compare_run(self.records, self.trials)
        self.comparisons = {comparison.sparse: comparison for comparison in compared}


def _identity(record: Record) -> tuple[Any, ...]:
    engine = record.engine
    return (
        record.workload,
        record.task.name,
        record.backbone.name,
        engine.name,
        engine.device,
        engine.precision,
        engine.threads,
        engine.batch_size,
    )


def _compared_speedups(key: tuple[Any, ...], left: _Side, right: _Side) -> ComparedCell:
    one, two = left.cells[key], right.cells[key]
    change = _accuracy_change(one, two, left.records, right.records)
    failed = [f"{name}: {r.reason}" for name, r in (("A", one), ("B", two)) if r.status != "ok"]
    if failed:
        return _cell(one, None, change, "; ".join(failed))
    if one.backbone.is_dense:
        return _cell(one, None, change, None)
    ours, theirs = left.comparisons[one.id], right.comparisons[two.id]
    if ours.speedup is None or theirs.speedup is None:
        return _cell(one, None, change, ours.reason or theirs.reason)
    return _cell(one, chain_ratios(_estimate(theirs), _estimate(ours).inverse()), change, None)


def _compared_times(
    one: Record, two: Record, records: Sequence[Record], times: Mapping[str, CellTimes]
) -> ComparedCell:
    change = _accuracy_change(one, two, records, records)
    failed = [f"{describe(r)}: {r.reason}" for r in (one, two) if r.status != "ok"]
    name = _both(one, two)
    if failed:
        return _cell(one, None, change, "; ".join(failed), name)
    both = one.id in times and two.id in times
    ratio = ratio_of_cells(times[one.id], times[two.id]) if both else None
    reason = "No block has both measured." if ratio is None else None
    return _cell(one, ratio, change, reason, name)


def _both(one: Record, two: Record) -> str:
    """Two cells of a run in words, as briefly as what they share allows."""
    if one.engine.name == two.engine.name:
        return f"{one.engine.name} ({one.workload})"
    return f"{describe(one)} / {describe(two)}"


def _pairs(records: Sequence[Record], a: str, b: str) -> list[tuple[Record, Record]]:
    ours, theirs = _select(records, a), _select(records, b)
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]

    def setting(record: Record) -> tuple[Any, ...]:
        workload, task, _, *engine = _identity(record)
        return (workload, task, *engine)

    others = {setting(record): record for record in theirs}
    return [(one, others[setting(one)]) for one in ours if setting(one) in others]


def _select(records: Sequence[Record], name: str) -> list[Record]:
    chosen = [record for record in records if record.id == name]
    chosen = chosen or [record for record in records if record.backbone.name == name]
    if not chosen:
        known = {record.backbone.name for record in records} | {record.id for record in records}
        raise UnknownNameError("backbone or record", name, known)
    return chosen


def _accuracy_change(
    one: Record, two: Record, ours: Sequence[Record], theirs: Sequence[Record]
) -> Delta | None:
    """B minus A in points; None if generated."""
    if not (one.backbone.trained and two.backbone.trained):
        return None
    found, other = accuracy_of(one, ours), accuracy_of(two, theirs)
    if found is None or other is None:
        return None
    return change_between(other[0], found[0])


def _estimate(comparison: Comparison) -> RatioEstimate:
    speedup = comparison.speedup
    if speedup is None:
        raise SparsebenchError(f"The comparison of {comparison.sparse} has no speed-up.")
    low, high = speedup.ci95 or (0.0, float("inf"))
    return RatioEstimate(
        speedup.median, low, high, speedup.blocks, comparison.smallest_effect or float("inf")
    )


def _cell(
    record: Record,
    ratio: RatioEstimate | None,
    change: Delta | None,
    reason: str | None,
    name: str | None = None,
) -> ComparedCell:
    failed = ratio is None and reason is not None
    return ComparedCell(
        cell=name or describe(record),
        workload=record.workload,
        ratio=None if ratio is None else Estimate(ratio.median, ratio.ci95, ratio.blocks),
        verdict=None,
        accuracy_change=change,
        status="failed" if failed else "ok",
        reason=reason,
        metric=record.task.metric,
    )
