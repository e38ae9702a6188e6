"""Quantiles: intervals that cover without assuming a distribution, and none without calls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from sparsebench.bench.statistics.quantiles import (
    blocked_quantile,
    least_samples,
    quantile_interval,
)


@pytest.mark.parametrize(("quantile", "least"), [(0.5, 6), (0.9, 36), (0.99, 368)])
def test_a_quantile_needs_enough_calls(quantile: float, least: int) -> None:
    """0.5^6 * 2, 0.9^36 and 0.99^368 are the first below what a tail may hold."""
    assert least_samples(quantile) == least
    assert quantile_interval(np.arange(least - 1), quantile) is None
    found = quantile_interval(np.arange(least), quantile)
    assert found is not None and found.high == least - 1


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [400, 2000])
def test_the_interval_covers_heavy_tails(quantile: float, count: int) -> None:
    """Log-normal latencies; of 2,000 intervals 94-98 % hold the true quantile."""
    rng = np.random.default_rng(0)
    truth = scipy.stats.lognorm(s=1.0).ppf(quantile)
    intervals = [quantile_interval(rng.lognormal(size=count), quantile) for _ in range(2000)]
    held = np.mean([one is not None and one.low <= truth <= one.high for one in intervals])
    assert 0.94 <= held <= 0.985


@pytest.mark.parametrize("count", [100, 999])
def test_the_ranks_are_those_of_the_binomial_distribution(count: int) -> None:
    found = quantile_interval(np.arange(1, count + 1), 0.9)
    assert found is not None
    inside = scipy.stats.binom(count, 0.9)
    # P(low <= the quantile < high): so many samples lie below it.
    assert inside.cdf(found.high - 1) - inside.cdf(found.low - 1) >= 0.95
    assert inside.cdf(found.low) > 0.025 and 1 - inside.cdf(found.high - 2) > 0.025
    assert found.mid == math.ceil(0.9 * count)


def test_processes_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    alike = [rng.normal(1.0, 0.01, 500) for _ in range(4)]
    unlike = [block * factor for block, factor in zip(alike, (0.9, 1.0, 1.05, 1.1), strict=True)]
    narrow, wide = (blocked_quantile(blocks, 0.5) for blocks in (alike, unlike))
    assert narrow is not None and wide is not None
    own = np.log([np.quantile(block, 0.5, method="inverted_cdf") for block in unlike])
    half = scipy.stats.t.ppf(0.975, 3) * scipy.stats.sem(own)
    assert wide.high == pytest.approx(math.exp(own.mean() + half))
    assert narrow.high - narrow.low < 0.01
    assert blocked_quantile([[], []], 0.5) is None
