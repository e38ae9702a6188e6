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
from typing import Literal

import numpy as np

from sparsebench.bench.statistics.bootstrap import RESAMPLES, bootstrap_interval, stays_within
from sparsebench.bench.statistics.intervals import CONFIDENCE, t_half_width, t_quantile
from sparsebench.bench.statistics.samples import Samples, facts_of

SMALLEST_EFFECT_OF_INTEREST = 0.05
POWER = 0.8
LEAST_BLOCKS = 3
"""Fewer say nothing: the interval of two is 12.7 of their standard errors wide."""

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
            noise would usually tell from 1 (simulated: in 66, 72, 77 and 80 % of runs with
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
    if not stays_within(below, above, pairs, seed, resamples, confidence):
        low, high = bootstrap_interval(pairs, seed=seed, resamples=resamples, confidence=confidence)
        below, above = min(below, math.log(low)), max(above, math.log(high))
    return _estimate(mid, below, above, len(pairs), confidence)


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
