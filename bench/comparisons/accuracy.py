"""The accuracy side of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.comparisons.matching import differing_keys
from sparsebench.bench.records import Accuracy, Delta, Record
from sparsebench.bench.statistics import accuracy_delta, relative_error_increase

PREFERRED = ("linear-cached", "linear-online", "full")


@dataclass(frozen=True)
class AccuracyChange:
    """Change against the dense partner; see `Comparison` for the fields."""

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
    found = common_accuracies(sparse, dense, records)
    if found is None:
        return AccuracyChange(notes=("No accuracy is known for both sides.",))
    of_sparse, of_dense, source = found
    notes: list[str] = []
    borrowed = sparse.extra.get("accuracy_from") if source is sparse else source.id
    if borrowed:
        by_id = {record.id: record.workload for record in records}
        notes.append(f"The accuracy is that of the {by_id.get(borrowed, 'training')} workload.")
    ours, theirs = paired_by_seed(of_sparse, of_dense)
    if not ours:
        notes.append("The two sides share no seed, so the change has no interval.")
        mean = (of_sparse.mean - of_dense.mean) * 100
        return AccuracyChange(Delta(mean, None), notes=tuple(notes))
    if len(ours) == 1:
        notes.append("One seed, so the change of accuracy has no interval.")
    change = accuracy_delta(ours, theirs)
    error = relative_error_increase(ours, theirs)
    return AccuracyChange(
        delta=Delta(change.mid, change.ci95),
        error_increase=None if error is None else error.mid,
        error_increase_ci95=None if error is None else error.ci95,
        borrowed_from=borrowed or None,
        notes=tuple(notes),
    )


def accuracy_of(record: Record, records: Sequence[Record]) -> tuple[Accuracy, Record] | None:
    """A record's accuracy and the record it is from: itself or another workload's."""
    candidates = [record, *_other_workloads(record, records)]
    return next(((r.accuracy, r) for r in candidates if r.accuracy is not None), None)


def common_accuracies(
    sparse: Record, dense: Record, records: Sequence[Record]
) -> tuple[Accuracy, Accuracy, Record] | None:
    """Accuracies of both sides from one workload, and the first side's record; None where unknown.

    Their own where both have one, else those of a training workload of the same two cells.
    """
    if sparse.accuracy is not None and dense.accuracy is not None:
        return sparse.accuracy, dense.accuracy, sparse
    for ours in _other_workloads(sparse, records):
        for theirs in _other_workloads(dense, records):
            if (
                ours.workload == theirs.workload
                and ours.accuracy is not None
                and theirs.accuracy is not None
            ):
                return ours.accuracy, theirs.accuracy, ours
    return None


def _other_workloads(record: Record, records: Sequence[Record]) -> list[Record]:
    """The same backbone, engine, precision and task in workloads that train."""
    free = ("workload", "engine.batch_size", "engine.threads")
    others = [
        other
        for other in records
        if other.workload in PREFERRED
        and other.workload != record.workload
        and other.backbone.name == record.backbone.name
        and other.task.name == record.task.name  # one of the keys, and cheap: runs have many
        and other.accuracy is not None
        and not [
            key
            for key in differing_keys(record, other, ignore=free)
            if not key.startswith("settings.")
        ]
    ]
    return sorted(others, key=lambda other: PREFERRED.index(other.workload))


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
