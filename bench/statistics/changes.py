"""Changes between two independent measurements of a ratio, and many of them at once.

*Change*: now / before. The logs of the two are independent means over blocks, so their difference
has Welch's t-interval and p-value (B. L. Welch, Biometrika 34, 1947); the standard errors are
read back from the stored intervals.

*Many*: with twenty cells and no change at all, one in twenty looks significant. Holm's step-down
procedure (S. Holm, Scandinavian Journal of Statistics 6, 1979) keeps the chance of any false alarm
in a suite below 5 %, whatever the dependence between cells, and loses less than Bonferroni's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.statistics.intervals import CONFIDENCE, t_quantile
from sparsebench.bench.statistics.ratios import POWER, RatioEstimate

FAMILY_ERROR = 1 - CONFIDENCE


@dataclass(frozen=True)
class Change:
    """A ratio now over the same ratio before.

    Args:
        ratio: the point; below 1 is less than before.
        low: lower end of its 95 % interval; 0 where one block says nothing about spread.
        high: upper end; ``inf`` in the same case.
        p: two-sided p-value of no change; 1 where there is no spread to judge by.
        smallest_effect: relative change that such a pair of measurements would usually show.
    """

    ratio: float
    low: float
    high: float
    p: float
    smallest_effect: float

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Both ends, or None where there is no interval."""
        return (self.low, self.high) if math.isfinite(self.high) and self.low > 0 else None


def change_of(before: RatioEstimate, now: RatioEstimate) -> Change:
    """Welch's comparison of two measured ratios on the logarithmic scale.

    Args:
        before: the earlier or reference ratio.
        now: the same ratio, measured again in another run.
    """
    point = now.median / before.median
    first, second = log_error(before), log_error(now)
    if math.isinf(first) or math.isinf(second):
        return Change(point, 0.0, math.inf, 1.0, math.inf)
    error = math.hypot(first, second)
    if error == 0:
        return Change(point, point, point, 1.0 if point == 1 else 0.0, 0.0)
    degrees = error**4 / sum(
        one**4 / (estimate.blocks - 1)
        for one, estimate in ((first, before), (second, now))
        if one > 0
    )
    half = t_quantile(0.5 + CONFIDENCE / 2, degrees) * error
    seen = half + t_quantile(POWER, degrees) * error
    log = math.log(point)
    return Change(
        ratio=point,
        low=math.exp(log - half),
        high=math.exp(log + half) if log + half < 100 else math.inf,
        p=two_sided(log / error, degrees),
        smallest_effect=math.expm1(seen) if seen < 100 else math.inf,
    )


def log_error(estimate: RatioEstimate) -> float:
    """Standard error of a ratio's logarithm, read back from its interval; ``inf`` for one block."""
    if estimate.ci95 is None or estimate.blocks < 2:
        return math.inf
    mid = math.log(estimate.median)
    half = max(math.log(estimate.high) - mid, mid - math.log(estimate.low))
    return half / t_quantile(0.5 + CONFIDENCE / 2, estimate.blocks - 1)


def p_of(estimate: RatioEstimate) -> float:
    """p-value of "the true ratio is 1", from a ratio's interval; 1 for a single block."""
    error = log_error(estimate)
    if math.isinf(error):
        return 1.0
    if error == 0:
        return 1.0 if estimate.median == 1 else 0.0
    return two_sided(math.log(estimate.median) / error, estimate.blocks - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    Comparing each with 0.05 keeps the probability of even one false alarm below 5 %.

    Args:
        p_values: one a test, 0-1.
    """
    # statsmodels.stats.multitest.multipletests gives the same numbers: 65 MB on disk and 3 s of
    # import, for these seven lines.
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def two_sided(t: float, degrees: float) -> float:
    """p-value of a t-statistic."""
    from scipy.special import stdtr

    return float(min(1.0, 2 * stdtr(degrees, -abs(t))))
