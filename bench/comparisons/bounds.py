"""What theory allows: FLOPs for inference, Amdahl's law for training.

*inference*: every multiplication with a zero skipped, dense FLOPs / non-zero FLOPs.

*linear-cached*, *linear-online*: 1 / ((1-p) + p/s). p is the share of the stage ``extract`` in
the dense partner's end-to-end time, the median over its trials; s the speed-up of the extraction by
sparsity alone: as measured by the run's own `inference` comparison of the same backbone on the
same engine, or, where the run has none, the FLOP ratio. With a measured s the bound says what
the other stages cost; with the FLOP ratio it says what theory allows. Decoding overlaps with
the extraction, so what hides behind a slow dense engine surfaces behind a fast sparse one: the
bound is approached from below.

*full*: the same with the stages ``forward`` and ``backward`` for p, and the FLOP ratio for s: what
a training would gain whose arithmetic skipped every zero. Plain PyTorch skips none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.records import Comparison, Record, TimedBlock, Trial
from bench.statistics import amdahl_bound, stage_fraction

EXTRACT = "extract"
INFERENCE = "inference"
# Stages whose arithmetic a sparse network has less of.
_STEPS = ("forward", "backward")


@dataclass(frozen=True)
class Bound:
    """A bound (None where unknown), where its speed-up is from, and why it is unknown."""

    value: float | None
    source: str | None = None
    note: str | None = None


def bound_of(
    sparse: Record,
    dense: Record,
    trials: Mapping[str, Sequence[Trial]],
    inference: Mapping[str, Comparison],
    records: Sequence[Record],
) -> Bound:
    """The bound of one comparison.

    Args:
        sparse: the sparse record.
        dense: its dense partner.
        trials: record id -> trials.
        inference: sparse record id -> the run's inference comparisons.
        records: all of the run.
    """
    by_flops = _flops_bound(sparse, dense)
    if sparse.workload == INFERENCE:
        if by_flops is None:
            return Bound(None, note="No bound: the non-zero FLOPs are not known.")
        return Bound(by_flops, "flops")
    fraction = _fraction(dense, trials, (EXTRACT,))
    measured = None
    if fraction is not None:
        measured = _measured_extraction(sparse, inference, records)
    else:
        fraction = _fraction(dense, trials, _STEPS)
    if fraction is None:
        return Bound(None, note="No bound: the dense partner's stages are not known.")
    if measured is not None:
        return Bound(amdahl_bound(fraction, measured), INFERENCE)
    if by_flops is None:
        return Bound(
            None, note="No bound: neither an inference speed-up nor the non-zero FLOPs are known."
        )
    return Bound(amdahl_bound(fraction, by_flops), "flops")


def _flops_bound(sparse: Record, dense: Record) -> float | None:
    ours, theirs = sparse.backbone.flops_ratio, dense.backbone.flops_ratio
    if not ours:
        return None
    return (1.0 if theirs is None else theirs) / ours


def _fraction(
    dense: Record, trials: Mapping[str, Sequence[Trial]], stages: Sequence[str]
) -> float | None:
    timed: list[TimedBlock] = [
        trial.times for trial in trials.get(dense.id, ()) if trial.status == "ok"
    ] or list(dense.trials)
    shares = [[stage_fraction(trial.stages, name) for name in stages] for trial in timed]
    known = [[share for share in trial if share is not None] for trial in shares]
    fractions = [min(1.0, sum(trial)) for trial in known if trial]
    return median(fractions) if fractions else None


def _measured_extraction(
    sparse: Record, inference: Mapping[str, Comparison], records: Sequence[Record]
) -> float | None:
    """Speed-up of the same backbone and engine settings in the inference workload."""
    engine = sparse.engine
    same = [
        record
        for record in records
        if record.id in inference
        and inference[record.id].speedup is not None
        and record.backbone.name == sparse.backbone.name
        and record.task.name == sparse.task.name
        and (record.engine.name, record.engine.device, record.engine.precision)
        == (engine.name, engine.device, engine.precision)
        and record.engine.threads == engine.threads
    ]
    # The batch size that the extraction used, if the run has it; else the nearest.
    same.sort(key=lambda record: abs(record.engine.batch_size - engine.batch_size))
    speedup = inference[same[0].id].speedup if same else None
    return None if speedup is None else speedup.median
