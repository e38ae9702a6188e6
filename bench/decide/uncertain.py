"""A measured number with its error, and the probability that it lies below a limit.

With m the mean of n independent values, e its standard error and n - 1 degrees of freedom, the
probability that the true mean is at most L is T((L - m) / e), T the distribution function of
Student's t: the posterior under a flat prior, whose central 95 % is the 95 % interval that the
tables print (Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.records import Estimate
from sparsebench.bench.statistics.intervals import CONFIDENCE, mean_interval, t_quantile

NORMAL = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Uncertain:
    """A number.

    Attributes:
        mid: the point.
        error: its standard error, same unit; None where a single value says nothing of it.
        degrees: degrees of freedom of the error; infinite for a number that is exact.
    """

    mid: float
    error: float | None
    degrees: float

    def at_most(self, limit: float) -> float | None:
        """Probability, 0-1, that the number is at most `limit`; None without an error."""
        if self.error is None:
            return None
        if self.error == 0:
            return float(self.mid <= limit)
        if math.isinf(self.degrees):
            return 0.5 * math.erfc((self.mid - limit) / self.error / math.sqrt(2))
        from scipy.special import stdtr

        return float(stdtr(self.degrees, (limit - self.mid) / self.error))

    def minus(self, other: Uncertain) -> Uncertain:
        """The difference of two independent numbers."""
        return combined([(1.0, self), (-1.0, other)])

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; None without an error."""
        if self.error is None:
            return None
        exact = self.error == 0 or math.isinf(self.degrees)
        half = self.error * (NORMAL if exact else t_quantile(0.5 + CONFIDENCE / 2, self.degrees))
        return self.mid - half, self.mid + half


def combined(parts: Sequence[tuple[float, Uncertain]]) -> Uncertain:
    """A weighted sum of independent numbers, with Welch's and Satterthwaite's degrees of freedom.

    Args:
        parts: weight and number of each.
    """
    mid = math.fsum(weight * number.mid for weight, number in parts)
    known = [(w * n.error, n.degrees) for w, n in parts if n.error is not None]
    if len(known) < len(parts):
        return Uncertain(mid, None, 0)
    total = math.fsum(error**2 for error, _ in known)
    spread = math.fsum(error**4 / degrees for error, degrees in known if error)
    return Uncertain(mid, math.sqrt(total), total**2 / spread if spread else math.inf)


def of_values(values: Sequence[float]) -> Uncertain:
    """From independent values of one quantity."""
    interval = mean_interval(values)
    return of_half_width(interval.mid, interval.high - interval.mid, interval.count)


def log_of_ratio(ratio: Estimate) -> Uncertain:
    """The logarithm of a ratio of times; the wider side of its interval gives the error."""
    if ratio.ci95 is None:
        return Uncertain(math.log(ratio.median), None, 0)
    low, high = ratio.ci95
    half = max(math.log(high / ratio.median), math.log(ratio.median / low))
    return of_half_width(math.log(ratio.median), half, ratio.blocks)


def of_half_width(mid: float, half: float, count: int) -> Uncertain:
    """From half a 95 % t-interval of the mean of `count` values."""
    if count < 2 or not math.isfinite(half):
        return Uncertain(mid, None, 0)
    return Uncertain(mid, half / t_quantile(0.5 + CONFIDENCE / 2, count - 1), count - 1)
