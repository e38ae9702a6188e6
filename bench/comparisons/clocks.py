"""The second clock: a speed-up by process time beside that by wall time.

Wall time is what a user waits; a busy machine lengthens it, and not for both sides alike: one
pair showed 4.4x on a quiet machine and 1.8x at a load of 23, each with a tight interval. Process
time, what all threads of a process took of the processors, hardly changes with the load. Where
the two ratios agree, the machine did not matter; where they do not, the comparison says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from sparsebench.bench.comparisons.busy import computes
from sparsebench.bench.comparisons.times import CellTimes, pair_blocks
from sparsebench.bench.records import VISITS, Trial
from sparsebench.bench.statistics import RatioEstimate, estimate_ratio
from sparsebench.bench.statistics.samples import Samples

AGREE = 0.10


def process_times(trials: Iterable[Trial]) -> CellTimes | None:
    """Process seconds per item of a cell, a sample a visit; None unless all its trials tell.

    Args:
        trials: of one cell; only good ones count.
    """
    blocks: dict[int, dict[str, tuple[Samples, ...]]] = {}
    for trial in trials:
        if trial.status != "ok":
            continue
        samples = _samples(trial)
        if samples is None:
            return None
        launches = blocks.setdefault(trial.block, {})
        launches[trial.launch] = (*launches.get(trial.launch, ()), samples)
    return CellTimes(blocks) if blocks else None


def process_speedup(
    sparse: str, dense: str, trials: Mapping[str, Iterable[Trial]]
) -> RatioEstimate | None:
    """Process time of the dense cell over that of the sparse one; None where unknown.

    Args:
        sparse: record id, as is `dense`.
        dense: the cell that it is compared with.
        trials: record id -> its trials.
    """
    ours, theirs = (process_times(trials.get(one, ())) for one in (sparse, dense))
    if ours is None or theirs is None:
        return None
    pairs = list(pair_blocks(theirs, ours).pairs.values())
    return estimate_ratio(pairs) if pairs else None


def disagree(wall: RatioEstimate, process: RatioEstimate) -> bool:
    """Whether two clocks tell different ratios: exclusive intervals, or points over 10 % apart."""
    apart = abs(math.log(wall.median / process.median)) > math.log1p(AGREE)
    if wall.ci95 is None or process.ci95 is None:
        return apart
    return apart or wall.high < process.low or process.high < wall.low


def _samples(trial: Trial) -> Samples | None:
    """Process seconds per item of each visit, float64 [visits]."""
    spent = np.asarray(trial.process_seconds or (), dtype=np.float64)
    calls = trial.extra.get(VISITS) or [1] * len(trial.seconds)
    if spent.size != len(calls) or not (spent > 0).all() or not computes(trial):
        return None
    per_item: Samples = spent / (np.asarray(calls, dtype=np.float64) * max(trial.items, 1))
    return per_item
