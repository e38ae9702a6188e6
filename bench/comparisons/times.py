"""The times of a cell by block and launch, and the pairing of two cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sparsebench.bench.comparisons.pass_correction import Key, samples_without_passes
from sparsebench.bench.records import Record, TimedBlock, Trial
from sparsebench.bench.statistics import (
    BlockPair,
    Interval,
    RatioEstimate,
    estimate_ratio,
    geometric_interval,
)
from sparsebench.bench.statistics.ratios import LEAST_BLOCKS, log_time
from sparsebench.bench.statistics.samples import Samples

ENOUGH = 2


@dataclass(frozen=True)
class CellTimes:
    """Seconds per item of a cell: block -> launch -> samples of each trial, float64 [n]."""

    blocks: Mapping[int, Mapping[str, tuple[Samples, ...]]]

    def of(self, block: int, launches: Iterable[str] | None = None) -> tuple[Samples, ...]:
        """The trials of a block, from the given launches or, where it has none of them, all."""
        here = self.blocks[block]
        chosen = [name for name in here if launches is None or name in launches]
        return tuple(samples for name in chosen or here for samples in here[name])

    @property
    def is_enough(self) -> bool:
        """Whether there are blocks enough for an interval; else the cell may win nothing."""
        return len(self.blocks) >= LEAST_BLOCKS

    @cached_property
    def level(self) -> Interval:
        """Seconds per item over the blocks, with the interval of its logarithm between them."""
        found = geometric_interval([math.exp(log_time(self.of(block))) for block in self.blocks])
        if not self.is_enough:
            return Interval(found.mid, 0.0, math.inf, found.count)
        return found


@dataclass(frozen=True)
class Pairing:
    """Blocks in which both of two cells were measured.

    Args:
        pairs: block -> both sides; only those to use.
        launches: block -> launches that both sides of it come from; empty for a split block.
        split: how many blocks have their two sides from different launches only.
        split_used: whether those are among `pairs`.
    """

    pairs: Mapping[int, BlockPair]
    launches: Mapping[int, frozenset[str]]
    split: int
    split_used: bool


def cell_times(
    record: Record,
    trials: Mapping[str, Sequence[Trial]],
    evened: Mapping[Key, Samples] | None = None,
) -> CellTimes:
    """Times of a record: from trials.jsonl where it has trials of the cell, else its own.

    Args:
        record: the cell.
        trials: record id -> all its trials; only those with status "ok" count.
        evened: samples that stand for those of a trial; see `samples_without_passes`.
    """
    timed: list[TimedBlock] = [
        trial.times for trial in trials.get(record.id, ()) if trial.status == "ok"
    ] or list(record.trials)
    blocks: dict[int, dict[str, tuple[Samples, ...]]] = {}
    for trial in sorted(timed, key=lambda t: (t.block, t.order)):
        samples = np.asarray(trial.seconds, dtype=np.float64) / max(trial.items, 1)
        key = (record.id, trial.block, trial.launch, trial.order)
        samples = (evened or {}).get(key, samples)
        samples.flags.writeable = False  # what is asked of them is kept: `facts_of`
        launches = blocks.setdefault(trial.block, {})
        launches[trial.launch] = (*launches.get(trial.launch, ()), samples)
    return CellTimes(blocks)


def by_cell(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Record id -> its trials, in written order."""
    grouped: dict[str, list[Trial]] = {}
    for trial in trials:
        grouped.setdefault(trial.cell, []).append(trial)
    return grouped


def run_times(
    records: Iterable[Record], trials: Mapping[str, Sequence[Trial]]
) -> dict[str, CellTimes]:
    """Record id -> times, of every measured cell of a run.

    Args:
        records: the run's.
        trials: record id -> its trials; of all cells, so that what hit a pass is known.
    """
    evened = samples_without_passes(trial for mine in trials.values() for trial in mine)
    timed = {
        record.id: cell_times(record, trials, evened) for record in records if record.status == "ok"
    }
    return {key: times for key, times in timed.items() if times.blocks}


def pair_blocks(numerator: CellTimes, denominator: CellTimes) -> Pairing:
    """Pair two cells block by block.

    A block that a kill has cut in two has its sides in different launches, and their ratio
    contains whatever changed on the machine in between. Such split blocks count only where
    fewer than two whole ones exist.
    """
    whole: dict[int, frozenset[str]] = {}
    split: dict[int, frozenset[str]] = {}
    for block in sorted(numerator.blocks.keys() & denominator.blocks.keys()):
        common = frozenset(numerator.blocks[block]) & frozenset(denominator.blocks[block])
        (whole if common else split)[block] = common
    use_split = bool(split) and len(whole) < ENOUGH
    used = {**whole, **split} if use_split else whole
    pairs = {
        block: BlockPair(
            numerator.of(block, launches or None), denominator.of(block, launches or None)
        )
        for block, launches in sorted(used.items())
    }
    return Pairing(pairs, used, len(split), use_split)


def ratio_of_cells(numerator: CellTimes, denominator: CellTimes) -> RatioEstimate | None:
    """Time of one cell over the time of another; None without a common block."""
    pairs = list(pair_blocks(numerator, denominator).pairs.values())
    return estimate_ratio(pairs) if pairs else None
