"""Comparison: a sparse record against its dense baseline, a line of comparisons.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.records.plain import pair, plain
from sparsebench.bench.records.record import SEEDS

SCHEMA = "comparison.v1"
UNEQUAL = "†"
Pair = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A ratio: point, 95 % interval (None with fewer than three), blocks it rests on."""

    median: float
    ci95: Pair | None
    blocks: int


@dataclass(frozen=True)
class Delta:
    """A change of accuracy in percentage points; no interval for a single seed.

    Args:
        mean: of the differences paired by seed.
        ci95: interval over what `over` says.
        ci95_seeds: t-interval over the seeds alone, as if no other test images could be drawn.
        over: "images and seeds", or "seeds" where a side kept no outcomes (older runs).
        unequal_budgets: whether the two networks are known to have had more and less training.
    """

    mean: float
    ci95: Pair | None
    ci95_seeds: Pair | None = None
    over: str = SEEDS
    unequal_budgets: bool = False

    @property
    def mark(self) -> str:
        """What stands behind the number where one network had more training than the other."""
        return UNEQUAL if self.unequal_budgets else ""


@dataclass(frozen=True)
class Effects:
    """Three factors whose product is the total."""

    engine: float
    sparsity: float
    precision: float


@dataclass(frozen=True)
class EffectIntervals:
    """The 95 % intervals of the three factors."""

    engine: Pair | None
    sparsity: Pair | None
    precision: Pair | None


@dataclass(frozen=True)
class Comparison:
    """A sparse record against its dense baseline; what could not be had is None.

    Args:
        run: id of the run.
        workload: of both records.
        sparse: id of the sparse record.
        dense: id of its dense baseline on the same engine.
        trained: False where one side has generated weights.
        status: "ok", "failed" (a side did not run) or "refused" (not comparable).
        reason: why it is not ok.
        best_dense: id of the dense record that the total is measured against.
        speedup: dense time over sparse time, same engine.
        total: best dense engine's time over sparse time.
        best_fp32_dense: as `best_dense`, of those that compute in fp32; None where none does, and
            in older runs.
        total_fp32: as `total`, against that one.
        accuracy_delta: percentage points, sparse minus dense.
        relative_error_increase: fraction.
        effects: factors of the total.
        amdahl_bound: largest speed-up that theory allows.
        efficiency: speedup over amdahl_bound.
        verdict: of the speedup: "better", "worse", "tied" or "inconclusive", after Holm's
            correction over the run (older files: before it).
        total_verdict: of the total, likewise.
        smallest_effect: relative change that this run would have seen, fraction.
        split_blocks: blocks whose two sides come from different launches.
        effect_intervals: 95 % intervals of the factors.
        relative_error_increase_ci95: its 95 % interval.
        accuracy_from: sparse record whose accuracy stands here instead of the own one.
        bound_from: "inference" or "flops": where the bound's speed-up comes from.
        notes: caveats, as sentences.
        training: time to target, epochs and break-even of step-by-step training
            (:func:`bench.comparisons.training.training_comparison`); None for other workloads.
        p_holm: p-value of the speed-up (against no change at all) after Holm's correction over
            the run's comparisons.
        holds: False where the interval for itself gives a verdict that the correction takes;
            None where it gives none.
        process_speedup: as `speedup`, by process instead of wall time; None in older runs.
        busy: how busy the machine of the run was, a sentence; None where it was quiet.
    """

    run: str
    workload: str
    sparse: str
    dense: str | None
    trained: bool
    status: str = "ok"
    reason: str | None = None
    best_dense: str | None = None
    speedup: Estimate | None = None
    total: Estimate | None = None
    accuracy_delta: Delta | None = None
    relative_error_increase: float | None = None
    effects: Effects | None = None
    amdahl_bound: float | None = None
    efficiency: float | None = None
    verdict: str | None = None
    total_verdict: str | None = None
    smallest_effect: float | None = None
    split_blocks: int = 0
    effect_intervals: EffectIntervals | None = None
    relative_error_increase_ci95: Pair | None = None
    accuracy_from: str | None = None
    bound_from: str | None = None
    notes: tuple[str, ...] = ()
    training: Mapping[str, Any] | None = None
    p_holm: float | None = None
    holds: bool | None = None
    process_speedup: Estimate | None = None
    busy: str | None = None
    best_fp32_dense: str | None = None
    total_fp32: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """As a line of comparisons.jsonl."""
        return {"schema": SCHEMA, **plain(self)}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Comparison:
        """From a validated line of comparisons.jsonl."""
        plain_keys: dict[str, Any] = {
            key: line[key]
            for key in cls.__dataclass_fields__
            if key not in _NESTED and key not in ("notes", *_LATER)
        }
        nested: dict[str, Any] = {
            key: None if line.get(key) is None else build(line[key])
            for key, build in _NESTED.items()
        }
        later: dict[str, Any] = {key: line.get(key) for key in _LATER}
        return cls(**plain_keys, **nested, **later, notes=tuple(line["notes"]))


def _estimate(line: Mapping[str, Any]) -> Estimate:
    return Estimate(line["median"], pair(line["ci95"]), line["blocks"])


def _delta(line: Mapping[str, Any]) -> Delta:
    ends = pair(line["ci95"])
    seeds = pair(line.get("ci95_seeds", ends))
    unequal = line.get("unequal_budgets", False)
    return Delta(line["mean"], ends, seeds, line.get("over", SEEDS), unequal)


def _effects(line: Mapping[str, Any]) -> Effects:
    return Effects(line["engine"], line["sparsity"], line["precision"])


def _effect_intervals(line: Mapping[str, Any]) -> EffectIntervals:
    return EffectIntervals(pair(line["engine"]), pair(line["sparsity"]), pair(line["precision"]))


# Keys that the first writers of v1 did not have.
_LATER = ("training", "p_holm", "holds", "busy", "best_fp32_dense")
_NESTED: dict[str, Any] = {
    "speedup": _estimate,
    "process_speedup": _estimate,
    "total": _estimate,
    "total_fp32": _estimate,
    "accuracy_delta": _delta,
    "effects": _effects,
    "effect_intervals": _effect_intervals,
    "relative_error_increase_ci95": pair,
}
