"""By simulation: an interval holds the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from sparsebench.bench.statistics import (
    bootstrap_interval,
    estimate_ratio,
    verdict,
)
from tests.bench.statistics.simulated import simulated


@pytest.mark.parametrize("count", [3, 5, 8])
def test_coverage_and_false_alarms(count: int) -> None:
    rng = np.random.default_rng(count)
    runs = 700
    estimates = [estimate_ratio(simulated(rng, count), resamples=200) for _ in range(runs)]
    covered = sum(r.low <= 1 <= r.high for r in estimates) / runs
    alarms = sum(verdict(r) != "inconclusive" for r in estimates) / runs
    # 93-97 %, with three standard errors of this small simulation on either side
    assert 0.93 - 0.02 <= covered <= 0.97 + 0.02
    assert alarms <= 0.05


def test_bootstrap_alone_would_cover_too_little_with_three_blocks() -> None:
    rng = np.random.default_rng(3)
    runs = 300
    covered = 0
    for _ in range(runs):
        low, high = bootstrap_interval(simulated(rng, 3), resamples=200)
        covered += low <= 1 <= high
    assert covered / runs < 0.85


def test_ten_percent_slowdown_is_caught() -> None:
    rng = np.random.default_rng(10)
    found = [verdict(estimate_ratio(simulated(rng, 5, 1 / 1.1), resamples=200)) for _ in range(60)]
    assert found.count("worse") >= 57


def test_smallest_effect_is_about_what_such_runs_see() -> None:
    rng = np.random.default_rng(11)
    size = np.median(
        [estimate_ratio(simulated(rng, 8), resamples=100).smallest_effect for _ in range(40)]
    )
    seen = [estimate_ratio(simulated(rng, 8, 1 + size), resamples=100).low > 1 for _ in range(200)]
    assert 0.6 <= np.mean(seen) <= 0.9
