"""The accuracy side of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsebench.bench.comparisons.matching import (
    cut_differently,
    differing_keys,
    indexed,
    unequal_budgets,
)
from sparsebench.bench.plan.workloads import described
from sparsebench.bench.records import (
    IMAGES_AND_SEEDS,
    OPTIMUM,
    SEEDS,
    Accuracy,
    Delta,
    Record,
)
from sparsebench.bench.statistics import (
    Interval,
    accuracy_delta,
    relative_error_increase,
)
from sparsebench.bench.tasks.kinds import word_of

ONE_SEED = "One seed, so the change of accuracy has no interval."
SEEDS_ONLY = (
    "The interval of the accuracy change is over seeds alone: the run kept no record of which test "
    "images were right, so another draw of them is not covered."
)


@dataclass(frozen=True)
class AccuracyChange:
    """Change against the dense baseline; see `Comparison` for the fields."""

    delta: Delta | None = None
    error_increase: float | None = None
    error_increase_ci95: tuple[float, float] | None = None
    borrowed_from: str | None = None
    notes: tuple[str, ...] = ()


def accuracy_change(sparse: Record, dense: Record, records: Sequence[Record]) -> AccuracyChange:
    """Accuracy of a pair: its own, or that of another workload of the same two cells.

    `inference` trains nothing, so its accuracy is the one that the features of the same
    backbone, engine, precision and task give in the run's training workload.
    """
    if different := cut_differently(sparse, dense):
        return AccuracyChange(notes=(different,))
    found = common_accuracies(sparse, dense, records)
    if found is None:
        return AccuracyChange(notes=("No accuracy is known for both sides.",))
    of_sparse, of_dense, source, baseline = found
    notes: list[str] = []
    borrowed = sparse.extra.get("accuracy_from") if source is sparse else source.id
    if borrowed:
        lender = indexed(records).by_id.get(borrowed)
        word, workload = word_of([sparse.task.metric]), lender.workload if lender else "training"
        notes.append(f"The {word} is that of the {workload} workload.")
    ours, theirs = paired_by_seed(of_sparse, of_dense)
    change = change_between(of_sparse, of_dense)
    if unequal := unequal_budgets(sparse, dense):
        change = replace(change, unequal_budgets=True)
        notes.append(unequal)
    notes += [short for side in (source, baseline) if (short := short_of_optimum(side))]
    if not ours:
        notes.append("The two sides share no seed, so the change has no interval.")
        return AccuracyChange(change, notes=tuple(notes))
    if len(ours) == 1:
        notes.append(ONE_SEED)
    elif change.over == SEEDS:
        notes.append(SEEDS_ONLY)
    error = relative_error_increase(ours, theirs, interval_of(change))
    return AccuracyChange(
        delta=change,
        error_increase=None if error is None else error.mid,
        error_increase_ci95=None if error is None else error.ci95,
        borrowed_from=borrowed or None,
        notes=tuple(notes),
    )


def short_of_optimum(record: Record) -> str:
    """What to say where a schedule left heads over a point below their optimum; else empty."""
    optimum = record.extra.get(OPTIMUM)
    if optimum is None or record.accuracy is None or optimum - record.accuracy.mean <= 0.01:
        return ""
    return (
        f"The schedule of SGD leaves the heads of {record.backbone.name} at "
        f"{record.accuracy.mean:.1%}; the optimum at the same weight decay has {optimum:.1%} "
        f"(--set {record.workload}.solver=lbfgs)."
    )


def change_between(after: Accuracy, before: Accuracy) -> Delta:
    """The change of accuracy, after minus before: every verdict about it rests on this interval.

    Paired by seed and, where both sides kept which test images were right, by image: then its
    interval is over the draw of both (:mod:`sparsebench.bench.statistics.crossed`). Older runs
    kept only one accuracy a seed: their interval is over seeds, and `over` says so. Without a
    common seed, or with one alone, there is no interval.

    Args:
        after: sparse, or the later measurement.
        before: dense, or the earlier one.
    """
    ours, theirs = paired_by_seed(after, before)
    if not ours:
        return Delta((after.mean - before.mean) * 100, None)
    seeds = accuracy_delta(ours, theirs)
    both = _over_images_and_seeds(after, before)
    if both is None:
        return Delta(seeds.mid, seeds.ci95, seeds.ci95)
    return Delta(seeds.mid, both.scaled(100).ci95, seeds.ci95, IMAGES_AND_SEEDS)


def same_outcomes(after: Accuracy, before: Accuracy) -> bool:
    """Whether both got the same test images right with every seed, as far as that is known.

    Without outcomes, by the accuracies of the seeds.
    """
    ours, theirs = after.outcomes(), before.outcomes()
    if after.seeds != before.seeds or after.metric != before.metric:
        return False
    if ours is None or theirs is None:
        return after.per_seed == before.per_seed
    return ours.is_equal(theirs)


def interval_of(change: Delta) -> Interval:
    """A stored change as an interval in points, infinite where it has none."""
    low, high = change.ci95 or (-math.inf, math.inf)
    return Interval(change.mean, low, high, 0)


def _over_images_and_seeds(after: Accuracy, before: Accuracy) -> Interval | None:
    ours, theirs = after.outcomes(), before.outcomes()
    if ours is None or theirs is None or after.metric != before.metric:
        return None
    return ours.change_from(theirs, after.metric)


def accuracy_of(record: Record, records: Sequence[Record]) -> tuple[Accuracy, Record] | None:
    """A record's accuracy and the record it is from: itself or another workload's."""
    candidates = [record, *_other_workloads(record, records)]
    return next(((r.accuracy, r) for r in candidates if r.accuracy is not None), None)


def common_accuracies(
    sparse: Record, dense: Record, records: Sequence[Record]
) -> tuple[Accuracy, Accuracy, Record, Record] | None:
    """Accuracies of both sides from one workload, and the records they are of; None where unknown.

    Their own where both have one, else those of a training workload of the same two cells.
    """
    if sparse.accuracy is not None and dense.accuracy is not None:
        return sparse.accuracy, dense.accuracy, sparse, dense
    for ours in _other_workloads(sparse, records):
        for theirs in _other_workloads(dense, records):
            if (
                ours.workload == theirs.workload
                and ours.accuracy is not None
                and theirs.accuracy is not None
            ):
                return ours.accuracy, theirs.accuracy, ours, theirs
    return None


def _other_workloads(record: Record, records: Sequence[Record]) -> list[Record]:
    """The same backbone, engine, precision and task in workloads that train."""
    free = ("workload", "engine.batch_size", "engine.threads")
    records = indexed(records)

    def find() -> list[Record]:
        others = [
            other
            for other in records.of(record)
            if other.accuracy is not None
            and other.workload != record.workload
            and _rank(other) is not None
            and not [
                key
                for key in differing_keys(record, other, ignore=free)
                if not key.startswith("settings.")
            ]
        ]
        return sorted(others, key=lambda other: _rank(other) or 0)

    return records.once("other workloads", record, find)


def _rank(record: Record) -> int | None:
    return described(record.workload).accuracy_rank


def paired_by_seed(sparse: Accuracy, dense: Accuracy) -> tuple[list[float], list[float]]:
    """Accuracies of the seeds that both have; without seeds, by position if as many."""
    if sparse.seeds is not None and dense.seeds is not None:
        ours = dict(zip(sparse.seeds, sparse.per_seed, strict=False))
        theirs = dict(zip(dense.seeds, dense.per_seed, strict=False))
        both = [seed for seed in ours if seed in theirs]
        return [ours[seed] for seed in both], [theirs[seed] for seed in both]
    if len(sparse.per_seed) == len(dense.per_seed):
        return list(sparse.per_seed), list(dense.per_seed)
    return [], []
