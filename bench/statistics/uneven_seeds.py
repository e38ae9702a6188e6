"""How far the mean of a rate may reach where a few seeds fail rarely and much.

Rates near 0 that differ by factors from seed to seed are skewed: most samples of few seeds miss
the bad one, and then both their mean and their spread are too small: a t-interval of five seeds
with accuracies of 94 to 99.7 % covered 84 %. Logarithms of such rates are nearly normal, and the
mean of a log-normal variable has Cox's interval, here with Student's t (U. Olsson, Journal of
Statistics Education 13, 2005): with m and s the mean and standard deviation of the logarithms,

    exp(m + s**2 / 2 +- t(S - 1) * sqrt(s**2 / S + s**4 / (2 * (S - 1)))).

On the logit scale it cannot leave 0-1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.statistics.intervals import t_quantile


def reach_of_mean(rates: NDArray[np.float64], images: float, quantile: float) -> float:
    """How far the upper end of the mean over seeds of a rate lies above it, 0-1.

    Args:
        rates: of each seed, 0-1, float64 [seeds], two or more.
        images: how many each rate is of. The binomial part of their spread, that of seeds which
            all have the mean rate, is taken off.
        quantile: of Student's t, 0.5-1.
    """
    # Half an event more keeps a rate of 0 on the scale.
    kept = (rates * images + 0.5) / (images + 1)
    logits = np.log(kept / (1 - kept))
    pooled = float(kept.mean())
    drawn = 1 / ((images + 1) * pooled * (1 - pooled))
    square = max(float(logits.var(ddof=1)) - drawn, 0.0)
    count = len(rates)
    error = math.sqrt(square / count + square**2 / (2 * (count - 1)))
    end = float(logits.mean()) + square / 2 + t_quantile(quantile, count - 1) * error
    return max((1 + math.tanh(end / 2)) / 2 - pooled, 0.0)
