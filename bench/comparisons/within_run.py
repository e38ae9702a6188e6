"""compare_run: every sparse record of a run against its dense baseline.

Effects multiply to the total exactly. For each block b the logs of the times of the best dense
engine A, of the dense baseline D and of the sparse cell S give

    engine_b = A_b - R_b,  precision_b = R_b - D_b,  sparsity_b = D_b - S_b,

where R is the dense cell on this engine in A's precision (R = D where the precisions are
equal); they sum to A_b - S_b, and a point is exp(mean over blocks), which is linear in the
logs. The interval of the total is that of A_b - S_b itself, not a product of intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsebench.bench.comparisons.accuracy_change import accuracy_change
from sparsebench.bench.comparisons.bounds import INFERENCE, bound_of
from sparsebench.bench.comparisons.busy import busy
from sparsebench.bench.comparisons.clocks import disagree, process_speedup
from sparsebench.bench.comparisons.dense import REFERENCE_PRECISION, best_dense, dense_peers
from sparsebench.bench.comparisons.family import hold_after_holm
from sparsebench.bench.comparisons.matching import (
    describe,
    find_partner,
    indexed,
    refuse_differences,
)
from sparsebench.bench.comparisons.notes import (
    GENERATED,
    UNEVEN,
    block_notes,
    missed_notes,
    two_clocks,
)
from sparsebench.bench.comparisons.pass_correction import felt_differently
from sparsebench.bench.comparisons.times import CellTimes, Pairing, by_cell, pair_blocks, run_times
from sparsebench.bench.comparisons.training import training_comparison
from sparsebench.bench.records import (
    Comparison,
    EffectIntervals,
    Effects,
    Estimate,
    Record,
    Trial,
)
from sparsebench.bench.statistics import (
    BlockPair,
    RatioEstimate,
    chain_ratios,
    estimate_ratio,
    sequential,
)
from sparsebench.bench.statistics.intervals import CONFIDENCE
from sparsebench.bench.statistics.samples import Samples
from sparsebench.models.errors import SparsebenchError

UNITY = RatioEstimate(1.0, 1.0, 1.0, 1, 0.0)
_Sides = dict[int, tuple[Samples, ...]]  # block -> samples of each trial


@dataclass(frozen=True)
class _Run:
    """What all comparisons of a run share."""

    records: Sequence[Record]
    trials: Mapping[str, Sequence[Trial]]
    times: Mapping[str, CellTimes]
    busy: str | None
    uneven: frozenset[str]


@dataclass(frozen=True)
class _Total:
    """The total and its factors."""

    total: RatioEstimate
    engine: RatioEstimate
    precision: RatioEstimate
    best: str
    notes: tuple[str, ...]


def compare_run(records: Sequence[Record], trials: Sequence[Trial] = ()) -> list[Comparison]:
    """All comparisons of a run, one for each sparse record, in the records' order.

    Args:
        records: of one run, one a cell.
        trials: of trials.jsonl; a cell without any there uses the trials in its record.

    Returns:
        Also the comparisons that were not possible, with status and reason.
    """
    records, grouped = indexed(records), by_cell(trials)
    found = busy(records, trials)
    run = _Run(
        records,
        grouped,
        run_times(records, grouped),
        None if found is None else found.sentence,
        felt_differently(trials),
    )
    sparse = [record for record in records if not record.backbone.is_dense]
    # inference first: the bound of a training workload rests on its extraction's speed-up
    inference: dict[str, Comparison] = {}
    for record in sparse:
        if record.workload == INFERENCE:
            inference[record.id] = _compare(record, run, {})
    return hold_after_holm(
        [inference.get(record.id) or _compare(record, run, inference) for record in sparse]
    )


def _compare(sparse: Record, run: _Run, inference: Mapping[str, Comparison]) -> Comparison:
    if sparse.status != "ok":
        return _impossible(sparse, None, sparse.status, f"The sparse side: {sparse.reason}")
    try:
        dense = find_partner(sparse, run.records)
    except SparsebenchError as error:
        return _impossible(sparse, None, "failed", str(error))
    if dense.status != "ok":
        reason = f"The dense baseline {describe(dense)}: {dense.reason}"
        return _impossible(sparse, dense, dense.status, reason)
    try:
        refuse_differences(sparse, dense)
    except SparsebenchError as error:
        return _impossible(sparse, dense, "refused", str(error))
    ours, theirs = run.times.get(sparse.id), run.times.get(dense.id)
    pairing = pair_blocks(theirs, ours) if ours and theirs else None
    if pairing is None or not pairing.pairs:
        return _impossible(sparse, dense, "failed", "No block has both sides measured.")
    return _measured(sparse, dense, pairing, run, inference)


def _measured(
    sparse: Record,
    dense: Record,
    pairing: Pairing,
    run: _Run,
    inference: Mapping[str, Comparison],
) -> Comparison:
    speedup = estimate_ratio(list(pairing.pairs.values()), confidence=_level(sparse))
    whole = _total(sparse, dense, pairing, speedup, run)
    fp32 = _best_with_common_block(dense, pairing, run, REFERENCE_PRECISION)
    change = accuracy_change(sparse, dense, run.records)
    bound = bound_of(sparse, dense, run.trials, inference, run.records)
    trained = sparse.backbone.trained and dense.backbone.trained
    notes = [*block_notes(pairing, speedup), *whole.notes, *change.notes]
    training = training_comparison(sparse, dense, run.records)
    notes += missed_notes(training)
    if not trained:
        notes.append(GENERATED)
    if bound.note:
        notes.append(bound.note)
    for side in (sparse, dense):
        if side.extra.get("overloaded"):
            notes.append(
                f"More requests were offered than {side.backbone.name} could serve: some were "
                "given up, and its latency is a lower bound."
            )
    if sparse.id in run.uneven:
        notes.append(UNEVEN)
    process = process_speedup(sparse.id, dense.id, run.trials)
    if process is not None and disagree(speedup, process):
        notes.append(two_clocks(process, run.busy))
    return Comparison(
        run=sparse.run,
        workload=sparse.workload,
        sparse=sparse.id,
        dense=dense.id,
        trained=trained,
        best_dense=whole.best,
        speedup=_stored(speedup),
        total=_stored(whole.total),
        best_fp32_dense=None if fp32 is None else fp32.id,
        total_fp32=None if fp32 is None else _stored(_against(fp32, sparse, pairing, run)),
        accuracy_delta=change.delta,
        relative_error_increase=change.error_increase,
        relative_error_increase_ci95=change.error_increase_ci95,
        accuracy_from=change.borrowed_from,
        effects=Effects(whole.engine.median, speedup.median, whole.precision.median),
        effect_intervals=EffectIntervals(whole.engine.ci95, speedup.ci95, whole.precision.ci95),
        training=training,
        amdahl_bound=bound.value,
        bound_from=bound.source,
        efficiency=None if bound.value is None else speedup.median / bound.value,
        smallest_effect=None if speedup.ci95 is None else speedup.smallest_effect,
        split_blocks=pairing.split,
        process_speedup=None if process is None else _stored(process),
        busy=run.busy,
        notes=tuple(notes),
    )


def _total(
    sparse: Record, dense: Record, pairing: Pairing, speedup: RatioEstimate, run: _Run
) -> _Total:
    """The total against the best dense engine, factor by factor."""
    best = _best_with_common_block(dense, pairing, run) or dense
    if best.id == dense.id:
        return _Total(speedup, UNITY, UNITY, best.id, ())
    notes: tuple[str, ...] = ()
    reference = dense
    if best.engine.precision != dense.engine.precision:
        found = _reference(best, dense, pairing, run)
        if found is None:
            notes = (
                f"{dense.engine.name} has no dense {best.engine.precision} cell in this run: "
                "the engine effect contains the effect of the precision.",
            )
        reference = found or dense
    a, r = _sides(best, pairing, run), _sides(reference, pairing, run)
    d = {block: pair.numerator for block, pair in pairing.pairs.items()}
    s = {block: pair.denominator for block, pair in pairing.pairs.items()}
    engine = UNITY if reference.id == best.id else _ratio(a, r)
    precision = UNITY if reference.id == dense.id else _ratio(r, d)
    point = engine.median * speedup.median * precision.median
    if a.keys() >= s.keys() and r.keys() >= s.keys():
        spread = _ratio(a, s, _level(sparse))
        total = RatioEstimate(point, spread.low, spread.high, spread.blocks, spread.smallest_effect)
    else:
        factors = [factor for factor in (engine, precision) if factor is not UNITY]
        total = chain_ratios(*factors, speedup)
        total = RatioEstimate(point, total.low, total.high, total.blocks, total.smallest_effect)
        notes = (*notes, f"{describe(best)} misses blocks that this pair has.")
    return _Total(total, engine, precision, best.id, notes)


def _best_with_common_block(
    dense: Record, pairing: Pairing, run: _Run, precision: str | None = None
) -> Record | None:
    """The best dense record, in a precision, of which at least one block can be paired."""
    peers = [
        peer
        for peer in dense_peers(dense, run.records)
        if precision in (None, peer.engine.precision)
    ]
    usable = {
        peer.id: run.times[peer.id]
        for peer in peers
        if peer.id in run.times and run.times[peer.id].blocks.keys() & pairing.pairs.keys()
    }
    return best_dense(dense, peers, usable)


def _against(other: Record, sparse: Record, pairing: Pairing, run: _Run) -> RatioEstimate:
    """A dense record's time over the sparse one's, in the blocks of the pairing."""
    ours = {block: pair.denominator for block, pair in pairing.pairs.items()}
    return _ratio(_sides(other, pairing, run), ours, _level(sparse))


def _reference(best: Record, dense: Record, pairing: Pairing, run: _Run) -> Record | None:
    """The dense cell on this engine in the best engine's precision."""
    for record in dense_peers(dense, run.records):
        if (
            record.engine.precision == best.engine.precision
            and record.engine.name == dense.engine.name
            and record.id in run.times
            and run.times[record.id].blocks.keys()
            & run.times[best.id].blocks.keys()
            & pairing.pairs.keys()
        ):
            return record
    return None


def _level(sparse: Record) -> float:
    """Of its intervals: one that was measured until it was narrow pays for that."""
    return sequential.CONFIDENCE if sparse.extra.get("stopped") else CONFIDENCE


def _sides(record: Record, pairing: Pairing, run: _Run) -> _Sides:
    """A cell's trials in the blocks of a pairing, from the same launches where it has them."""
    times = run.times[record.id]
    return {
        block: times.of(block, pairing.launches[block])
        for block in pairing.pairs
        if block in times.blocks
    }


def _ratio(numerator: _Sides, denominator: _Sides, confidence: float = CONFIDENCE) -> RatioEstimate:
    """Ratio over the blocks that both have."""
    blocks = [block for block in numerator if block in denominator]
    pairs = [BlockPair(numerator[b], denominator[b]) for b in blocks]
    return estimate_ratio(pairs, confidence=confidence)


def _stored(estimate: RatioEstimate) -> Estimate:
    return Estimate(estimate.median, estimate.ci95, estimate.blocks)


def _impossible(sparse: Record, dense: Record | None, status: str, reason: str) -> Comparison:
    trained = sparse.backbone.trained and (dense is None or dense.backbone.trained)
    return Comparison(
        run=sparse.run,
        workload=sparse.workload,
        sparse=sparse.id,
        dense=None if dense is None else dense.id,
        trained=trained,
        status=status,
        reason=reason,
    )
