"""What there is to choose from: every measured cell with its times and its loss of accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sparsebench.bench.comparisons import CellTimes, by_cell, ratio_of_cells, run_times
from sparsebench.bench.comparisons.accuracy import accuracy_of, common_accuracies, paired_by_seed
from sparsebench.bench.decide.engines import EngineFacts, engine_facts
from sparsebench.bench.decide.uncertain import (
    EXACT_ZERO,
    Uncertain,
    log_of_ratio,
    of_interval,
    of_values,
)
from sparsebench.bench.records import Record, Trial
from sparsebench.bench.statistics import accuracy_delta
from sparsebench.bench.statistics.ratios import log_time

INFERENCE = "inference"
Excluded = tuple[str, str]
"""A cell in words, and why it is not among the candidates."""


@dataclass(frozen=True)
class Candidate:
    """One measured cell.

    Attributes:
        run: name of its run.
        record: the cell.
        times: its seconds a picture, by block.
        loss: percentage points that it is less accurate than the reference; negative where it
            is more accurate.
        facts: of its engine.
    """

    run: str
    record: Record
    times: CellTimes
    loss: Uncertain
    facts: EngineFacts

    @property
    def name(self) -> str:
        """Backbone and engine in words, with what is not usual of the settings."""
        engine = self.record.engine
        usual = {"cpu", "fp32"}
        other = [word for word in (engine.device, engine.precision) if word not in usual]
        return " ".join([f"{self.record.backbone.name} on {engine.name}", *other])

    @property
    def batch_size(self) -> int:
        """Pictures of a call."""
        return self.record.engine.batch_size

    @property
    def items(self) -> int:
        """Pictures in one sample: a batch in inference, all of a training."""
        return self.record.trials[0].items if self.record.trials else self.batch_size

    def log_seconds(self) -> Uncertain:
        """Logarithm of the seconds a picture, over the blocks."""
        return of_values([log_time(self.times.of(block)) for block in self.times.blocks])

    def seconds(self) -> float:
        """Seconds a picture."""
        return math.exp(self.log_seconds().mid)

    def whole_seconds(self) -> float:
        """Seconds of a sample: of one call in inference, of the whole job in training."""
        return self.seconds() * self.items

    def call_seconds(self, share: float) -> float:
        """The quantile of the measured calls' seconds at `share` (0-1)."""
        samples = [
            one for block in self.times.blocks for trial in self.times.of(block) for one in trial
        ]
        return float(np.quantile(samples, share)) * self.items

    def log_time_over(self, other: Candidate) -> Uncertain:
        """Logarithm of the own time over another's; below 0 where this one is faster.

        Paired by block where both are of one run, else from both spreads.
        """
        if other.run == self.run:
            ratio = ratio_of_cells(self.times, other.times)
            if ratio is not None:
                return log_of_ratio(ratio)
        return self.log_seconds().minus(other.log_seconds())


def candidates(
    name: str, records: Sequence[Record], trials: Sequence[Trial], reference: str | None = None
) -> tuple[list[Candidate], list[Excluded]]:
    """All cells of a run that can be chosen, and those that cannot, with the reason.

    Args:
        name: of the run.
        records: of the run.
        trials: of the run.
        reference: dense backbone whose accuracy a loss is measured against; by default the
            most accurate dense backbone of the workload and task.
    """
    times = run_times(records, by_cell(trials))
    found: list[Candidate] = []
    out: list[Excluded] = []
    for record in records:
        candidate = _candidate(name, record, records, times, reference)
        if isinstance(candidate, Candidate):
            found.append(candidate)
        else:
            engine = record.engine
            what = f"{record.backbone.name} on {engine.name}"
            out.append((f"{what} ({record.workload}, batch {engine.batch_size})", candidate))
    return found, out


def reference_for(record: Record, records: Sequence[Record], wanted: str | None) -> Record | None:
    """The dense record whose accuracy stands against that of `record`; on its engine if any."""
    dense = [
        other
        for other in records
        if other.workload == record.workload
        and other.task.is_same(record.task)
        and other.status == "ok"
        and (other.backbone.name == wanted if wanted else other.backbone.is_dense)
        and other.backbone.trained
        and accuracy_of(other, records) is not None
    ]
    if not dense:
        return None

    def mean(other: Record) -> float:
        known = accuracy_of(other, records)
        return known[0].mean if known else 0.0

    best = max(dense, key=mean).backbone.name
    same = [other for other in dense if other.backbone.name == best]
    return max(same, key=lambda other: _nearness(other, record))


def _nearness(other: Record, record: Record) -> tuple[bool, bool, bool]:
    return (
        other.engine.name == record.engine.name,
        other.engine.precision == record.engine.precision,
        other.engine.batch_size == record.engine.batch_size,
    )


def _candidate(
    run: str,
    record: Record,
    records: Sequence[Record],
    times: Mapping[str, CellTimes],
    wanted: str | None,
) -> Candidate | str:
    """The candidate, or why it is none."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    if record.id not in times:
        return "it has no time"
    if not record.engine.runs_itself:
        return record.engine.not_itself
    if not record.backbone.trained:
        return "generated weights: speed only, no accuracy"
    reference = reference_for(record, records, wanted)
    if reference is None:
        return "no accuracy of a dense reference is known"
    loss = _loss(record, reference, records)
    if loss is None:
        return "its accuracy is not known"
    return Candidate(run, record, times[record.id], loss, engine_facts(record.engine.name))


def _loss(record: Record, reference: Record, records: Sequence[Record]) -> Uncertain | None:
    if record.backbone.name == reference.backbone.name:
        return EXACT_ZERO
    found = common_accuracies(record, reference, records)
    if found is None:
        return None
    ours, theirs = paired_by_seed(found[0], found[1])
    if not ours:
        return Uncertain(100 * (found[1].mean - found[0].mean), None, 0)
    change = of_interval(accuracy_delta(ours, theirs))
    return Uncertain(-change.mid, change.error, change.degrees)
