"""Ratios of times over blocks: point, 95 % interval, verdict.

The unit of analysis is the block, one launch of both sides together.
Inside a trial the median over its samples stands for the trial; inside a block the trials of
one side (two of each in ABBA order) are averaged on the logarithmic scale; each block then
gives one log-ratio.

*Point*: exp(mean of the block log-ratios). Under multiplicative process effects that are
symmetric on the log scale this estimates the median ratio, and it is linear in the logs:
ratio(a, b) * ratio(b, c) = ratio(a, c) holds exactly, so effects multiply to their total
(`chain_ratios`), which a median of block ratios would not give.

*Interval*: the t-interval of the block log-ratios, widened to the two-level bootstrap (blocks,
then samples within a trial) where that one is wider. The bootstrap alone is too narrow with
few blocks: resampling n blocks understates their variance by (n-1)/n and cannot leave their
range. Simulated coverage of the 95 % interval with a 2 % effect of each process, 0.5 % noise of
each iteration and 30 samples in a trial (20,000 runs each):

    blocks                           3      5      8      20
    bootstrap alone               74.3   84.0   88.4   92.6 %
    t-interval, widened (used)    95.0   95.2   94.6   94.9 %

On two equal sides the interval excludes 1 in 4.8-5.4 % of runs, and a verdict, which also asks
for the smallest effect of interest, is given in 0.1 % with 3 blocks and never with 8. A slowdown
of 10 % gets its verdict in 82 % of runs with 3 blocks and in 99.9 % with 5. Processes with heavy
tails (t, 3 degrees of freedom) give 96 %; processes of which every tenth is 5-30 % slow, on
either side, 97-98 %. What the bootstrap adds is a floor: blocks that agree by chance more
closely than their own samples allow do not make the interval vanish.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.statistics.intervals import CONFIDENCE, t_half_width, t_quantile
from sparsebench.bench.statistics.samples import Samples, facts_of

SMALLEST_EFFECT_OF_INTEREST = 0.05
POWER = 0.8
LEAST_BLOCKS = 3
"""Fewer say nothing: the interval of two is 12.7 of their standard errors wide."""
RESAMPLES = 2000
MOST_RANKS = 2000  # kept of one set of draws: some 10 MB

_ROUNDING = 1e-9
"""Log scale: far more than sums of logarithms lose to it, far less than an interval's width."""

Verdict = Literal["better", "worse", "inconclusive"]


@dataclass(frozen=True)
class BlockPair:
    """Both sides of one block, seconds per item.

    Args:
        numerator: for each trial of the one side, its samples in measured order, float64 [n].
        denominator: the same for the other side.
    """

    numerator: tuple[Samples, ...]
    denominator: tuple[Samples, ...]

    def log_ratio(self) -> float:
        """log(time of the numerator / time of the denominator)."""
        return log_time(self.numerator) - log_time(self.denominator)


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio with its 95 % interval; with fewer than three blocks it has none.

    Args:
        median: estimate of the median ratio (see the module's text).
        low: lower end of the interval; 0 where too few blocks say nothing about spread.
        high: upper end; ``inf`` in the same case.
        blocks: number of independent units (blocks; cells in a geometric mean).
        smallest_effect: the relative change (0.03: 3 %) that the interval of a run with this
            noise would usually set apart from 1 (simulated: in 66, 72, 77 and 80 % of runs with
            3, 5, 8 and 20 blocks); ``inf`` for one block.
    """

    median: float
    low: float
    high: float
    blocks: int
    smallest_effect: float

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Both ends, or None where there is no interval."""
        return (self.low, self.high) if math.isfinite(self.high) and self.low > 0 else None

    def inverse(self) -> RatioEstimate:
        """The ratio the other way round."""
        low = 0.0 if math.isinf(self.high) else 1 / self.high
        high = math.inf if self.low == 0 else 1 / self.low
        return RatioEstimate(1 / self.median, low, high, self.blocks, self.smallest_effect)


def log_time(trials: Sequence[Samples]) -> float:
    """Mean over trials of log(median of the samples of a trial)."""
    logs = [facts_of(samples).log_median for samples in trials]
    return logs[0] if len(logs) == 1 else float(np.mean(logs))


def estimate_ratio(
    pairs: Sequence[BlockPair],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> RatioEstimate:
    """Time of the numerators over time of the denominators, with a 95 % interval.

    A speed-up has the slower side (the dense baseline) as numerator.

    Args:
        pairs: one for each block, at least one; times positive and finite.
        seed: of the bootstrap; the same seed and data give the same interval.
        resamples: bootstrap draws.
        confidence: nominal level, 0-1; above 0.95 where the number of blocks was chosen by
            looking at them (`sparsebench.bench.statistics.sequential`).

    Raises:
        ValueError: no block, an empty trial, or a time that is not positive and finite.
    """
    _check(pairs)
    # A run asks for the same ratio in its tables, in its answers and for several baselines.
    key = (_content(pairs), seed, resamples, confidence)
    if key not in _known:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[key] = _estimated(pairs, seed, resamples, confidence)
    return _known[key]


MOST_KNOWN = 100_000  # estimates that are kept: some 30 MB
_known: dict[tuple[bytes, int, int, float], RatioEstimate] = {}


def _content(pairs: Sequence[BlockPair]) -> bytes:
    """What names these times: equal for equal ones."""
    return b"".join(
        len(side).to_bytes(4, "little") + b"".join(facts_of(samples).digest for samples in side)
        for pair in pairs
        for side in (pair.numerator, pair.denominator)
    )


def _estimated(
    pairs: Sequence[BlockPair], seed: int, resamples: int, confidence: float
) -> RatioEstimate:
    logs = np.array([pair.log_ratio() for pair in pairs])
    mid = float(logs.mean())
    if len(pairs) < LEAST_BLOCKS:
        return RatioEstimate(math.exp(mid), 0.0, math.inf, len(pairs), math.inf)
    half = t_half_width(logs, confidence)
    below, above = mid - half, mid + half
    if not _stays_within(below, above, pairs, seed, resamples, confidence):
        low, high = bootstrap_interval(pairs, seed=seed, resamples=resamples, confidence=confidence)
        below, above = min(below, math.log(low)), max(above, math.log(high))
    return _estimate(mid, below, above, len(pairs), confidence)


def _stays_within(
    below: float,
    above: float,
    pairs: Sequence[BlockPair],
    seed: int,
    resamples: int,
    confidence: float,
) -> bool:
    """Whether the bootstrap surely lies inside these logarithms, so that it need not be drawn.

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

    Too narrow on its own with few blocks (see the module's text). Every draw is used twice,
    with the random numbers of the two sides exchanged, so that the interval of the inverse
    ratio is exactly the inverse interval.

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


def chain_ratios(*ratios: RatioEstimate) -> RatioEstimate:
    """The product of ratios from different blocks, with a conservative interval.

    Log half-widths add in quadrature. A side that two of them share (a/b * b/c) makes them
    negatively correlated, so that the true interval is narrower than this.
    """
    point = math.prod(ratio.median for ratio in ratios)
    units = min(ratio.blocks for ratio in ratios)
    if any(ratio.ci95 is None for ratio in ratios):
        return RatioEstimate(point, 0.0, math.inf, units, math.inf)
    mid = math.log(point)
    below = math.hypot(*(math.log(ratio.median / ratio.low) for ratio in ratios))
    above = math.hypot(*(math.log(ratio.high / ratio.median) for ratio in ratios))
    return _estimate(mid, mid - below, mid + above, units)


def geometric_mean(ratios: Sequence[float] | Sequence[RatioEstimate]) -> RatioEstimate:
    """Geometric mean of the ratios of several cells (tasks, backbones), t-interval over cells.

    A single estimate keeps its own interval; the spread between cells already contains the
    noise inside each.

    Raises:
        ValueError: there is no ratio.
    """
    if not ratios:
        raise ValueError("a geometric mean needs at least one ratio")
    if len(ratios) == 1 and isinstance(ratios[0], RatioEstimate):
        return ratios[0]
    points = [r.median if isinstance(r, RatioEstimate) else r for r in ratios]
    logs = np.log(np.array(points, dtype=np.float64))
    half = t_half_width(logs)
    mid = float(logs.mean())
    return _estimate(mid, mid - half, mid + half, len(points))


def verdict(
    estimate: RatioEstimate, smallest_effect_of_interest: float = SMALLEST_EFFECT_OF_INTEREST
) -> Verdict:
    """Whether a speed-up counts.

    It does when its interval excludes 1 and the point lies beyond the smallest effect of
    interest, as a factor in either direction (5 %: above 1.05 or below 1/1.05).
    """
    threshold = math.log1p(smallest_effect_of_interest)
    size = math.log(estimate.median)
    if estimate.low > 1 and size >= threshold:
        return "better"
    if estimate.high < 1 and size <= -threshold:
        return "worse"
    return "inconclusive"


def _estimate(
    mid: float, below: float, above: float, units: int, confidence: float = CONFIDENCE
) -> RatioEstimate:
    """From logs to a ratio, and the smallest effect that such an interval lets one see."""
    if units < 2 or math.isinf(above):
        return RatioEstimate(math.exp(mid), 0.0, math.inf, units, math.inf)
    half = max(above - mid, mid - below)
    error = half / t_quantile(0.5 + confidence / 2, units - 1)
    seen = half + t_quantile(POWER, units - 1) * error
    # exp of a wide interval of two wild blocks overflows; such an interval says nothing.
    if seen > 100:
        return RatioEstimate(math.exp(mid), 0.0, math.inf, units, math.inf)
    return RatioEstimate(math.exp(mid), math.exp(below), math.exp(above), units, math.expm1(seen))


def _check(pairs: Sequence[BlockPair]) -> None:
    if not pairs:
        raise ValueError("a ratio needs at least one block")
    for pair in pairs:
        for side in (pair.numerator, pair.denominator):
            if not side or any(samples.size == 0 for samples in side):
                raise ValueError("a block needs at least one sample of either side")
            if not all(facts_of(samples).good for samples in side):
                raise ValueError("times must be positive and finite")
