"""What there is to choose from: every measured variant with its times and its accuracy change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sparsebench.bench.comparisons import (
    CellTimes,
    Records,
    by_cell,
    compare_run,
    indexed,
    ratio_of_cells,
    run_times,
)
from sparsebench.bench.comparisons.accuracy_change import accuracy_of
from sparsebench.bench.decide.evidence import EXACTLY_NONE, AccuracyEvidence, accuracy_evidence
from sparsebench.bench.decide.licences import EngineFacts, engine_facts
from sparsebench.bench.decide.uncertain import Uncertain, combined, log_of_ratio, of_values
from sparsebench.bench.records import Comparison, Estimate, Record, RunFolder, Trial
from sparsebench.bench.statistics.ratios import log_time

Excluded = tuple[str, str]
"""A cell in words, and why it is not among the candidates."""

FLOATS = ("fp32", "bf16")  # what the baseline computes in without a calibration


@dataclass(frozen=True)
class RunData:
    """A run as answers and figures need it: its path or label, what was measured and compared."""

    name: str
    records: Records
    trials: Sequence[Trial]
    comparisons: Sequence[Comparison]
    times: Mapping[str, CellTimes]

    @cached_property
    def compared(self) -> dict[str, Comparison]:
        """Id of a sparse record -> its comparison."""
        return {one.sparse: one for one in reversed(self.comparisons)}

    @classmethod
    def of(cls, name: str, records: Sequence[Record], trials: Sequence[Trial] = ()) -> RunData:
        """From records and trials alone."""
        records, times = indexed(records), run_times(records, by_cell(trials))
        return cls(name, records, trials, compare_run(records, trials), times)

    @classmethod
    def read(cls, folder: RunFolder) -> RunData:
        """From a run's folder.

        Raises:
            SparsebenchError: one of its files is damaged.
        """
        return cls.of(folder.name, folder.records(), folder.trials())

    @property
    def by_id(self) -> dict[str, Record]:
        """Record id -> record."""
        return {record.id: record for record in self.records}


@dataclass(frozen=True, eq=False)
class Measurement:
    """A variant on one task.

    Attributes:
        record: the cell.
        times: its seconds an image, by block.
        evidence: of its accuracy change against the dense baseline.
        comparison: of a sparse cell, where it could be compared.
    """

    record: Record
    times: CellTimes
    evidence: AccuracyEvidence
    comparison: Comparison | None = None

    @cached_property
    def log_seconds(self) -> Uncertain:
        """Logarithm of the seconds an image, over the blocks; no error where they are too few."""
        found = of_values([log_time(self.times.of(block)) for block in self.times.blocks])
        return found if self.times.is_enough else Uncertain(found.mid, None, 0)

    @property
    def items(self) -> int:
        """Images in one sample: a batch in inference, all of a training."""
        trials = self.record.trials
        return trials[0].items if trials else self.record.engine.batch_size


@dataclass(frozen=True, eq=False)
class Candidate:
    """A variant (backbone, engine, precision) over the tasks of a question.

    Attributes:
        run: name of its run.
        cells: task -> measurement, in the order of the question.
        facts: of its engine.
    """

    run: str
    cells: Mapping[str, Measurement]
    facts: EngineFacts

    @property
    def record(self) -> Record:
        """Of its first task; what differs between tasks are times and accuracies."""
        return next(iter(self.cells.values())).record

    @property
    def name(self) -> str:
        """Backbone and engine in words, with what is not usual of the settings."""
        return name_of(self.record)

    @property
    def is_dense(self) -> bool:
        """Whether it is a dense baseline."""
        return self.record.backbone.is_dense

    @property
    def is_timed(self) -> bool:
        """Whether its times have an interval on every task; else it may win nothing."""
        return all(cell.times.is_enough for cell in self.cells.values())

    @property
    def batch_size(self) -> int:
        """Images of a call."""
        return self.record.engine.batch_size

    @property
    def worst(self) -> Measurement:
        """The measurement with the largest loss of accuracy."""
        return min(self.cells.values(), key=lambda one: one.evidence.change.mid)

    def loses_at_most(self, points: float) -> tuple[float, float] | None:
        """Bounds of the probability that it loses at most `points` on every task; None: unknown.

        Over several tasks, whose images and seeds may go together: at least Boole's bound, at most
        the probability of the worst task. The same of a single task.
        """
        known = [one.evidence.loses_at_most(points) for one in self.cells.values()]
        sure = [one for one in known if one is not None]
        if len(sure) < len(known):
            return None
        return max(0.0, 1 - math.fsum(1 - one for one in sure)), min(sure)

    def lost(self) -> float:
        """Points of accuracy that it loses on its worst task, whatever their error."""
        return max(-one.evidence.change.mid for one in self.cells.values())

    def seconds(self) -> float:
        """Seconds an image, geometric mean over the tasks."""
        return math.exp(combined(self._mean([o.log_seconds for o in self.cells.values()])).mid)

    def whole_seconds(self) -> float:
        """Seconds of a sample: of one call in inference, of the whole job in training."""
        items = [math.log(one.items) for one in self.cells.values()]
        return self.seconds() * math.exp(math.fsum(items) / len(items))

    def call_seconds(self, share: float) -> float:
        """The quantile of the measured calls' seconds at `share` (0-1), of the slowest task."""
        return max(
            float(np.quantile([s for b in m.times.blocks for t in m.times.of(b) for s in t], share))
            * m.items
            for m in self.cells.values()
        )

    def time_of(self, other: Candidate) -> tuple[Estimate, Uncertain]:
        """The time of another over the own one (above 1: this one is faster) and its logarithm.

        Paired by block inside a run, and as the tables print it; from both spreads between runs.
        Over several tasks the geometric mean, whose error is that of the tasks' own ratios: it
        speaks of these tasks, not of others.
        """
        each = [self._time_of(other, task) for task in self.cells]
        if len(each) == 1:
            return each[0]
        log = combined(self._mean([one for _, one in each]))
        return _estimate(log, min(ratio.blocks for ratio, _ in each)), log

    def _time_of(self, other: Candidate, task: str) -> tuple[Estimate, Uncertain]:
        mine, theirs = self.cells[task], other.cells[task]
        told = mine.comparison
        if told is not None and told.total and told.best_dense == theirs.record.id:
            return told.total, log_of_ratio(told.total)
        if self.run == other.run:
            paired = ratio_of_cells(theirs.times, mine.times)
            if paired is not None:
                ratio = Estimate(paired.median, paired.ci95, paired.blocks)
                return ratio, log_of_ratio(ratio)
        log = theirs.log_seconds.minus(mine.log_seconds)
        blocks = min(len(mine.times.blocks), len(theirs.times.blocks))
        return _estimate(log, blocks), log

    @staticmethod
    def _mean(numbers: Sequence[Uncertain]) -> list[tuple[float, Uncertain]]:
        return [(1 / len(numbers), number) for number in numbers]


def name_of(record: Record) -> str:
    """Backbone and engine in words, with what is not usual of the settings."""
    engine = record.engine
    other = [word for word in (engine.device, engine.precision) if word not in ("cpu", "fp32")]
    return " ".join([f"{record.backbone.name} on {engine.label}", *other])


def baseline_of(record: Record, comparison: Comparison | None, records: Sequence[Record]) -> str:
    """Name of the dense baseline that a cell belongs to; its own where it is dense."""
    if record.backbone.is_dense:
        return record.backbone.name
    dense = comparison.dense if comparison else None
    named = indexed(records).by_id.get(dense or "")
    return (
        (named and named.backbone.name)
        or record.backbone.dense_partner
        or f"{record.backbone.arch}/dense"
    )


def measurement(run: RunData, record: Record, baseline: str) -> Measurement | str:
    """The measurement of a cell, or why it is none.

    Args:
        run: of the cell.
        record: the cell.
        baseline: dense backbone that its accuracy change is against.
    """
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    if record.id not in run.times:
        return "it has no time"
    if not record.engine.runs_itself:
        return record.engine.not_itself
    if not record.backbone.trained:
        return "generated weights: speed only, no accuracy"
    compared = run.compared.get(record.id)
    partner = run.records.by_id.get((compared and compared.dense) or "")
    if partner is None or partner.backbone.name != baseline:
        partner = _nearest(record, baseline, run.records)
    if partner is None:
        return "no accuracy of a dense reference is known"
    if record.backbone.name == baseline and record.engine.precision in FLOATS:
        known = accuracy_of(record, run.records)
        evidence = None if known is None else EXACTLY_NONE
    else:
        evidence = accuracy_evidence(record, partner, run.records)
    if evidence is None:
        return "its accuracy is not known"
    return Measurement(record, run.times[record.id], evidence, compared)


def candidate(run: str, cells: Mapping[str, Measurement]) -> Candidate:
    """The variant that these cells, one a task, are of."""
    return Candidate(run, cells, engine_facts(next(iter(cells.values())).record.engine.name))


def _nearest(record: Record, baseline: str, records: Records) -> Record | None:
    """The baseline's cell with an accuracy whose settings are nearest to a record's."""
    dense = [
        other
        for other in records.of(record, baseline)
        if other.workload == record.workload
        and other.task.is_same(record.task)
        and other.status == "ok"
        and other.backbone.trained
        and (other.engine.precision in FLOATS or not record.backbone.is_dense)
        and accuracy_of(other, records) is not None
    ]
    ours = record.engine
    return max(
        dense,
        key=lambda other: (
            other.engine.name == ours.name,
            other.engine.precision == ours.precision,
            other.engine.batch_size == ours.batch_size,
        ),
        default=None,
    )


def _estimate(log: Uncertain, blocks: int) -> Estimate:
    ends = log.interval()
    both = None if ends is None else (_exp(ends[0]), _exp(ends[1]))
    return Estimate(math.exp(log.mid), both, blocks)


def _exp(value: float) -> float:
    return math.exp(max(-100.0, min(value, 100.0)))  # an interval of two wild blocks says nothing
