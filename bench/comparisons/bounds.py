"""What theory allows: FLOPs for inference, Amdahl's law for training.

*inference*: every multiplication with a zero skipped, dense FLOPs / non-zero FLOPs.

*linear-cached*, *linear-online*: 1 / ((1-p) + p/s). Where the run measured the `inference` of the
same backbone on the same engine, s is its speed-up, else the FLOP ratio. p is the share of the
dense baseline's end-to-end time that a faster engine can shorten:

- *linear-cached* waits for its engine in the stage `extract`, *linear-online* in `extract` and
  `evaluate`: p is their share, or what the dense engine alone takes for the images that went
  through it (their number times its seconds an image of `inference`) where that is more. An engine
  beside threads that decode or crop takes longer for a batch than alone, and a faster one leaves
  them sooner: p counts that too. Part of the wait may be for a decoder, which no engine shortens;
  so the bound is generous, never too low. (Until November 2026 the engine's work alone was p for
  *linear-cached*, and 1.98x (1.97-1.99) was measured against a bound of 1.82x.)

*full*: the same with the stages ``forward`` and ``backward`` for p, and the FLOP ratio for s: what
a training would gain whose arithmetic skipped every zero. Plain PyTorch skips none.

All shares are medians over the dense baseline's trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from sparsebench.bench.comparisons.matching import indexed
from sparsebench.bench.plan.workloads import described
from sparsebench.bench.records import ENGINE_IMAGES, Comparison, Record, TimedBlock, Trial
from sparsebench.bench.statistics import amdahl_bound, stage_fraction
from sparsebench.bench.workloads.inference import Inference

EXTRACT = "extract"
INFERENCE = Inference.name
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
        dense: its dense baseline.
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
    waits = described(sparse.workload).engine_stages
    if fraction is not None and waits:
        fraction = _fraction(dense, trials, waits)
    measured = None
    if fraction is not None:
        measured = _measured_extraction(sparse, inference, records)
    else:
        fraction = _fraction(dense, trials, _STEPS)
    if fraction is None:
        return Bound(None, note="No bound: the dense baseline's stages are not known.")
    if measured is not None and measured.speedup is not None:
        own = _engine_fraction(dense, str(measured.dense), trials)
        share = max(fraction, own or 0.0)
        return Bound(amdahl_bound(share, measured.speedup.median), INFERENCE)
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


def _engine_fraction(
    dense: Record, inference: str, trials: Mapping[str, Sequence[Trial]]
) -> float | None:
    """Share of the engine's own work; None where it was not counted."""
    alone = {
        trial.block: median(trial.seconds) / trial.items
        for trial in trials.get(inference, ())
        if trial.status == "ok"
    }
    counted = [
        trial
        for trial in trials.get(dense.id, ())
        if trial.status == "ok" and ENGINE_IMAGES in trial.extra
    ]
    if not alone or not counted:
        return None
    usual = median(alone.values())
    shares = []
    for trial in counted:
        # Blocks differ in how busy the machine was; each is held to its own.
        seconds = int(trial.extra[ENGINE_IMAGES]) * alone.get(trial.block, usual)
        shares.append(min(1.0, seconds / fmean(trial.seconds)))
    return median(shares)


def _measured_extraction(
    sparse: Record, inference: Mapping[str, Comparison], records: Sequence[Record]
) -> Comparison | None:
    """The inference comparison of the same backbone and engine settings."""
    engine = sparse.engine
    same = [
        record
        for record in indexed(records).of(sparse)
        if record.id in inference
        and inference[record.id].speedup is not None
        and record.task.is_same(sparse.task)
        and (record.engine.name, record.engine.device, record.engine.precision)
        == (engine.name, engine.device, engine.precision)
        and record.engine.threads == engine.threads
    ]
    # The batch size that the extraction used, if the run has it; else the nearest.
    same.sort(key=lambda record: abs(record.engine.batch_size - engine.batch_size))
    return inference[same[0].id] if same else None
