"""The visits of a trial, and two sides that took them in turns.

A block of ``inference`` visits a cell several times; its trial says how many calls each visit
had. Where two runs alternated visit by visit (`bench.clock.alternation`),
visit n of the one lies beside
visit n of the other, and their ratio is free of what the machine did to both. The median over
those ratios also drops the visits that a burst of foreign work hit on one side only.

It is used for the same cell of two versions alone. Speed-ups of different cells are ratios of
each cell's own median, because those multiply exactly (engine x sparsity = total).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsebench.bench.records import VISITS, Trial
from sparsebench.bench.statistics import BlockPair
from sparsebench.bench.statistics.samples import Samples


def split_visits(trial: Trial) -> tuple[Samples, ...]:
    """Seconds per item of each visit, float64 [calls]; one visit where the trial names none.

    Raises:
        ValueError: the visits do not add up to the trial's calls.
    """
    samples = np.asarray(trial.seconds, dtype=np.float64) / max(trial.items, 1)
    counts = trial.extra.get(VISITS) or [samples.size]
    if sum(counts) != samples.size:
        raise ValueError(f"{sum(counts)} calls in visits, {samples.size} in the trial")
    return tuple(np.split(samples, np.cumsum(counts)[:-1]))


def pair_visits(numerator: Sequence[Samples], denominator: Sequence[Samples]) -> BlockPair:
    """One block of two runs that alternated: the median of the ratios of their visits.

    Args:
        numerator: samples of each visit, or of each trial where runs did not alternate.
        denominator: of the other run.

    Returns:
        Ratios over ones where either side has the same number of visits, so that the block's
        ratio is their median; else both sides as they are.
    """
    if len(numerator) != len(denominator) or len(numerator) < 2:
        return BlockPair(tuple(numerator), tuple(denominator))
    ratios = [
        np.median(ours) / np.median(theirs)
        for ours, theirs in zip(numerator, denominator, strict=True)
    ]
    # The middle of the logarithms, so that the ratio the other way round is the inverse.
    return BlockPair((np.exp(_symmetric(np.log(ratios))),), (np.ones(len(ratios)),))


def _symmetric(logs: Samples) -> Samples:
    """An odd number of logarithms with the same median: an even one's middle is their mean."""
    if logs.size % 2:
        return logs
    return np.append(logs, np.median(logs))
