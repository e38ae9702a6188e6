"""The two-level bootstrap of a ratio over blocks: blocks, then samples within a trial.

:mod:`sparsebench.bench.statistics.ratios` widens its t-interval to this one. Most of the time that
changes nothing, which is known from bounds, without a draw (:func:`stays_within`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.statistics.intervals import CONFIDENCE
from sparsebench.bench.statistics.samples import Samples, facts_of

if TYPE_CHECKING:
    from sparsebench.bench.statistics.ratios import BlockPair

RESAMPLES = 2000
MOST_RANKS = 2000  # kept of one set of draws: some 10 MB

_ROUNDING = 1e-9
"""Log scale: far more than sums of logarithms lose to it, far less than an interval's width."""


def stays_within(
    below: float,
    above: float,
    pairs: Sequence[BlockPair],
    seed: int,
    resamples: int,
    confidence: float,
) -> bool:
    """Whether the bootstrap certainly lies inside these logarithms, so that it need not be drawn.

    No resampled median of a trial lies outside the samples at the least and the greatest rank
    that is drawn, so a draw lies between the means, over its blocks, of what these allow.
    """
    draws = _draws(seed, resamples, len(pairs), _most_trials(pairs))
    lows, highs = np.empty((2, 2, len(pairs)))
    for index, pair in enumerate(pairs):
        for swap in (0, 1):
            least, most = draws.reach(pair.numerator, index, swap)
            smallest, largest = draws.reach(pair.denominator, index, 1 - swap)
            lows[swap, index], highs[swap, index] = least - largest, most - smallest
    below, above = below + _ROUNDING, above - _ROUNDING
    if lows.min() > below and highs.max() < above:
        return True
    tail = (1 - confidence) / 2
    return (
        _both_tails((lows @ draws.shares).ravel(), tail)[0] > below
        and _both_tails((highs @ draws.shares).ravel(), tail)[1] < above
    )


def _most_trials(pairs: Sequence[BlockPair]) -> int:
    return max(len(side) for pair in pairs for side in (pair.numerator, pair.denominator))


def bootstrap_interval(
    pairs: Sequence[BlockPair],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile interval of the two-level bootstrap: blocks, then samples within a trial.

    Too narrow on its own with few blocks (:mod:`sparsebench.bench.statistics.ratios` says how
    much). Every draw is used twice, with the random numbers of the two sides exchanged, so that
    the interval of the inverse ratio is exactly the inverse interval.

    Returns:
        Lower and upper end of the ratio.
    """
    draws = _draws(seed, resamples, len(pairs), _most_trials(pairs))
    logs = np.empty((2, len(pairs) * resamples))
    for index, pair in enumerate(pairs):
        here = draws.places[index]  # a block that is drawn twice has its samples drawn twice
        for swap in (0, 1):
            logs[swap, here] = draws.log_time(pair.numerator, index, swap) - draws.log_time(
                pair.denominator, index, 1 - swap
            )
    means = np.add.reduce(logs.reshape(2, len(pairs), resamples), axis=1) / len(pairs)
    low, high = _both_tails(means.ravel(), (1 - confidence) / 2)
    return math.exp(low), math.exp(high)


def _both_tails(values: Samples, tail: float) -> tuple[float, float]:
    """`numpy.quantile` at `tail` and `1 - tail`, at a tenth of its cost."""
    whole, part = divmod(tail * (values.size - 1), 1.0)
    first, last = int(whole), values.size - 1 - int(whole)
    inner = min(first + 1, last), max(last - 1, first)
    ordered = np.partition(values, sorted({first, last, *inner}))
    low, high = ordered[first], ordered[last]
    return (
        float(low + part * (ordered[inner[0]] - low)),
        float(high - part * (high - ordered[inner[1]])),
    )


class _Draws:
    """The random numbers of a bootstrap: the same for every ratio of as many blocks.

    Attributes:
        places: for each block, where it is drawn, positions in [blocks * resamples].
        shares: of each block in each resample, float64 [blocks, resamples]; they add to 1.
    """

    def __init__(self, seed: int, resamples: int, count: int, trials: int) -> None:
        rng = np.random.default_rng(seed)
        # Draws of one place lie side by side: means over places are sums of whole rows.
        chosen = rng.integers(0, count, size=(resamples, count)).T.copy()
        uniform = np.swapaxes(rng.random((2, trials, resamples, count)), 2, 3)
        self.places = [np.flatnonzero(chosen == index) for index in range(count)]
        self.shares = np.array([(chosen == index).sum(axis=0) for index in range(count)]) / count
        self._uniform = [uniform[:, :, chosen == index] for index in range(count)]
        self._ranks: dict[tuple[int, int, int, int], NDArray[np.intp]] = {}
        self._ends: dict[tuple[int, int, int, int], tuple[int, int]] = {}

    def log_time(self, trials: Sequence[Samples], index: int, side: int) -> Samples:
        """log_time of resampled trials, float64 [draws], without drawing every sample.

        Args:
            trials: of a side of the block.
            index: of the block.
            side: which of the two sets of random numbers.
        """
        logs = [facts_of(samples).sorted_logs for samples in trials]
        drawn = [
            ordered[self._ranks_of(index, side, trial, ordered.size)]
            for trial, ordered in enumerate(logs)
        ]
        return drawn[0] if len(drawn) == 1 else np.add.reduce(drawn) / len(drawn)

    def reach(self, trials: Sequence[Samples], index: int, side: int) -> tuple[float, float]:
        """The least and the greatest that `log_time` gives."""
        least = most = 0.0
        for trial, samples in enumerate(trials):
            ordered = facts_of(samples).sorted_logs
            first, last = self._ends_of(index, side, trial, ordered.size)
            least, most = least + float(ordered[first]), most + float(ordered[last])
        return least / len(trials), most / len(trials)

    def _ends_of(self, index: int, side: int, trial: int, size: int) -> tuple[int, int]:
        """The least and the greatest rank that is drawn."""
        key = (index, side, trial, size)
        if key not in self._ends:
            ranks = self._ranks_of(*key)
            # A block that is never drawn reaches nowhere.
            self._ends[key] = (int(ranks.min()), int(ranks.max())) if ranks.size else (0, 0)
        return self._ends[key]

    def _ranks_of(self, index: int, side: int, trial: int, size: int) -> NDArray[np.intp]:
        """Which of `size` sorted samples is the median of as many drawn with replacement.

        The median of n uniform numbers follows Beta((n+1)/2, (n+1)/2), so the median of n samples
        drawn with replacement is the sorted sample at that quantile: exact for odd n.
        """
        key = (index, side, trial, size)
        if key not in self._ranks:
            if len(self._ranks) >= MOST_RANKS:
                self._ranks.clear()
                self._ends.clear()
            self._ranks[key] = np.searchsorted(_steps(size), self._uniform[index][side, trial])
        return self._ranks[key]


_draws = lru_cache(maxsize=8)(_Draws)


@lru_cache(maxsize=1024)
def _steps(size: int) -> Samples:
    from scipy.special import betainc

    shape = (size + 1) / 2
    steps: Samples = betainc(shape, shape, np.arange(1, size) / size)
    return steps
