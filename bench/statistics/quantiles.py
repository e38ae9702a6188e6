"""Quantiles with intervals from order statistics: no assumption on how times are distributed.

Of n independent samples as many lie below the q-quantile as a binomial variable with n and q
says; the two order statistics between which it then lies with 95 % probability are the interval
(David and Nagaraja, Order Statistics, 2003, section 7.1). Where the upper one would lie beyond
the largest sample, there are too few to say: p50 needs 6 samples, p90 36, p99 368.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sparsebench.bench.statistics.intervals import CONFIDENCE, Interval, t_half_width


def quantile_interval(
    samples: ArrayLike, quantile: float, confidence: float = CONFIDENCE
) -> Interval | None:
    """A quantile of independent samples with its distribution-free interval.

    Args:
        samples: float [n], any unit.
        quantile: 0-1, exclusive.
        confidence: coverage, at least.

    Returns:
        The interval; None where so few samples say nothing of this quantile.
    """
    values = np.sort(np.asarray(samples, dtype=np.float64).ravel())
    ranks = _ranks(values.size, quantile, confidence)
    if ranks is None:
        return None
    middle = values[max(0, math.ceil(quantile * values.size) - 1)]
    low, high = (float(values[rank - 1]) for rank in ranks)
    return Interval(float(middle), low, high, int(values.size))


def least_samples(quantile: float, confidence: float = CONFIDENCE) -> int:
    """How many independent samples an interval of a quantile above a half takes.

    The largest of n must lie above the quantile with all but half of the error: q^n <= error / 2.

    Args:
        quantile: 0.5-1, exclusive.
        confidence: coverage, at least.
    """
    return math.ceil(math.log((1 - confidence) / 2) / math.log(quantile))


def blocked_quantile(
    blocks: Sequence[ArrayLike], quantile: float, confidence: float = CONFIDENCE
) -> Interval | None:
    """A quantile over blocks, whose processes differ, too: the wider of two intervals.

    One is that of all samples together, the other the t-interval of the logarithms of the blocks'
    own quantiles, from three blocks on.

    Args:
        blocks: positive samples of each block, float [n].
        quantile: 0-1, exclusive.
        confidence: coverage of either.
    """
    kept = [np.asarray(block, dtype=np.float64).ravel() for block in blocks]
    kept = [block for block in kept if block.size]
    found = quantile_interval(np.concatenate(kept), quantile, confidence) if kept else None
    if found is None or len(kept) < 3:
        return found
    logs = np.log([np.quantile(block, quantile, method="inverted_cdf") for block in kept])
    half, mid = t_half_width(logs, confidence), float(logs.mean())
    return Interval(
        found.mid,
        min(found.low, math.exp(mid - half)),
        max(found.high, math.exp(mid + half)),
        found.count,
    )


def _ranks(count: int, quantile: float, confidence: float) -> tuple[int, int] | None:
    """Ranks, from 1, of the two order statistics; None where one of them does not exist."""
    from scipy.special import bdtr  # scipy.stats takes a second to import, this does not

    if count < 1:
        return None
    tail = (1 - confidence) / 2
    below = bdtr(np.arange(count), count, quantile)  # P(at most k samples lie below)
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, 1 - tail)) + 1
    return (low, high) if low >= 1 and high <= count else None
