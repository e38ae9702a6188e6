"""What step-by-step training adds to a comparison: time to a target, epochs, break-even.

The target is the dense baseline's mean validation accuracy after its last epoch, minus a stated
margin; validation data choose it, never the test set. A training that never reaches it counts
as infinite, and is counted as missed.

The break-even epoch sets ``linear-online`` against ``linear-cached`` of the same backbone and
engine: from so many epochs on, extracting once is cheaper than extracting in every epoch. With
a decoding time D, an online epoch e, one extraction pass E (with all that is done once) and a
head epoch h it is the smallest N with D + N * e >= E + N * h (MEASUREMENT rule 18).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from sparsebench.bench.comparisons.matching import indexed
from sparsebench.bench.records import Record
from sparsebench.bench.training.trained import Epoch, seconds_to
from sparsebench.bench.workloads.linear_cached import LinearCached
from sparsebench.bench.workloads.linear_online import LinearOnline

ONLINE, CACHED = LinearOnline.name, LinearCached.name
# Stages of an epoch of online training; all others happen once.
_PER_EPOCH = ("augment", "extract", "head")


def curves_of(record: Record) -> list[tuple[Epoch, ...]]:
    """The training curves of a record, one a seed; empty where there are none."""
    curves: Mapping[str, Any] = record.extra.get("curves") or {}
    return [tuple(Epoch(*epoch) for epoch in curve) for curve in curves.values()]


def _seeds(record: Record) -> list[int]:
    """Whose curves :func:`curves_of` gives, in its order."""
    return [int(seed) for seed in record.extra.get("curves") or {}]


def best_epochs(record: Record) -> list[int]:
    """Epoch of each seed, from 1, that is best on the validation split, the earliest of equals.

    Empty where nothing was validated.
    """
    found = []
    for curve in curves_of(record):
        known = [(e.validation, -n) for n, e in enumerate(curve, 1) if e.validation is not None]
        if known:
            found.append(-max(known)[1])
    return found


def own_training(record: Record, records: Sequence[Record]) -> dict[str, Any] | None:
    """As :func:`training_comparison` of a record with itself: a dense one sets its own target.

    A sparse one without a baseline has no target; None where nothing was trained step by step.
    """
    found = training_comparison(record, record, records)
    if found is None or record.backbone.is_dense:
        return found
    kept = ("epochs", "seconds_per_epoch", "break_even_epoch")
    return {key: found[key] for key in kept}


def target_of(dense: Record, margin: float) -> float | None:
    """Validation accuracy (0-1) to reach; None where nothing was validated.

    Args:
        dense: the dense baseline's record.
        margin: percentage points below its mean.
    """
    ends = [curve[-1].validation for curve in curves_of(dense) if curve]
    known = [end for end in ends if end is not None]
    return fmean(known) - margin / 100 if known else None


def training_comparison(
    sparse: Record, dense: Record, records: Sequence[Record]
) -> dict[str, Any] | None:
    """The training side of a comparison; None where nothing was trained step by step.

    Args:
        sparse: the sparse record.
        dense: its dense baseline.
        records: all of the run, for the break-even.

    Returns:
        ``epochs``, ``seconds_per_epoch``, ``target`` (0-1), ``margin_points``,
        ``seconds_to_target`` (median over seeds, None where most seeds miss it), ``missed``
        (seeds), ``missed_seeds`` (which), ``to_target_ratio`` (dense over sparse, of the
        medians), ``break_even_epoch``; a pair of values is ``{"sparse": ..., "dense": ...}``.
    """
    sides = {"sparse": sparse, "dense": dense}
    curves = {side: curves_of(record) for side, record in sides.items()}
    if not all(curves.values()):
        return None
    found: dict[str, Any] = {
        "epochs": len(curves["dense"][0]),
        "seconds_per_epoch": {side: _per_epoch(curves[side]) for side in sides},
        "break_even_epoch": {side: break_even(one, records) for side, one in sides.items()},
    }
    margin = float(dense.settings.get("target_margin", 0.0))
    target = target_of(dense, margin)
    if target is None:
        return found
    times = {side: [seconds_to(curve, target) for curve in curves[side]] for side in sides}
    middle = {side: _finite(median(times[side])) for side in sides}
    ours, theirs = middle["sparse"], middle["dense"]
    return {
        **found,
        "target": target,
        "margin_points": margin,
        "seconds_to_target": middle,
        "missed": {side: sum(map(math.isinf, times[side])) for side in sides},
        "missed_seeds": {
            side: [seed for seed, t in zip(_seeds(one), times[side], strict=True) if math.isinf(t)]
            for side, one in sides.items()
        },
        "to_target_ratio": theirs / ours if ours and theirs else None,
    }


def break_even(record: Record, records: Sequence[Record]) -> int | None:
    """Epochs from which `linear-cached` is cheaper; None where the run does not tell.

    Args:
        record: of ``linear-online``.
        records: all of the run.
    """
    if record.workload != ONLINE or not record.trials:
        return None
    other = next((r for r in indexed(records).of(record) if _same_but_cached(r, record)), None)
    epochs = len(curves_of(record)[0]) if curves_of(record) else 0
    if other is None or not epochs:
        return None
    online, cached = _stages(record), _stages(other)
    epoch = sum(online.get(name, 0.0) for name in _PER_EPOCH) / epochs
    seeds = len(other.settings.get("seeds", (0,)))
    head_epochs = float(other.settings.get("epochs", 0))
    # A solver without epochs does all of its work once.
    all_heads = cached.get("head", 0.0) if head_epochs else 0.0
    once = sum(cached.values()) - all_heads
    head = all_heads / seeds / head_epochs if head_epochs else 0.0
    if epoch <= head:
        return None
    before = online.get("decode", 0.0) + online.get("evaluate", 0.0) / (epochs + 1)
    return max(1, math.ceil((once - before) / (epoch - head)))


def _same_but_cached(other: Record, online: Record) -> bool:
    return (
        other.workload == CACHED
        and other.status == "ok"
        and other.task.is_same(online.task)
        and (other.engine.name, other.engine.device, other.engine.precision)
        == (online.engine.name, online.engine.device, online.engine.precision)
    )


def _stages(record: Record) -> dict[str, float]:
    names = dict.fromkeys(name for trial in record.trials for name in trial.stages)
    return {name: median(t.stages.get(name, 0.0) for t in record.trials) for name in names}


def epoch_seconds(record: Record) -> list[float]:
    """Seconds of an epoch of each seed: between the ends of epochs, or a whole single one."""
    return _epoch_seconds(curves_of(record))


def _epoch_seconds(curves: Sequence[tuple[Epoch, ...]]) -> list[float]:
    gaps = [
        (curve[-1].elapsed - curve[0].elapsed) / (len(curve) - 1)
        for curve in curves
        if len(curve) > 1
    ]
    return gaps or [curve[-1].elapsed for curve in curves if curve]


def _per_epoch(curves: Sequence[tuple[Epoch, ...]]) -> float | None:
    seconds = _epoch_seconds(curves)
    return median(seconds) if seconds else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
