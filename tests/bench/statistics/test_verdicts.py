"""Verdicts, bounds, warm-up."""

from __future__ import annotations

import math

import pytest

from sparsebench.bench.statistics import (
    RatioEstimate,
    amdahl_bound,
    settled,
    settling_point,
    stage_fraction,
    verdict,
)


@pytest.mark.parametrize(
    ("low", "median", "high", "expected"),
    [
        (1.2, 1.3, 1.4, "better"),
        (0.6, 0.7, 0.8, "worse"),
        (0.9, 1.3, 1.8, "inconclusive"),  # the interval contains 1
        (1.01, 1.03, 1.05, "inconclusive"),  # real, but below 5 %
        (0.95, 0.96, 0.97, "inconclusive"),
        (1.04, 1.051, 1.06, "better"),
    ],
)
def test_verdict_needs_interval_and_size(
    low: float, median: float, high: float, expected: str
) -> None:
    assert verdict(RatioEstimate(median, low, high, 5, 0.02)) == expected
    mirrored = {"better": "worse", "worse": "better"}.get(expected, expected)
    assert verdict(RatioEstimate(median, low, high, 5, 0.02).inverse()) == mirrored


def test_verdict_with_another_effect_of_interest() -> None:
    assert verdict(RatioEstimate(1.03, 1.01, 1.05, 5, 0.02), 0.02) == "better"


def test_amdahl() -> None:
    assert amdahl_bound(0.95, math.inf) == pytest.approx(20)
    assert amdahl_bound(0.5, 2) == pytest.approx(4 / 3)
    assert amdahl_bound(0, 10) == 1
    for fraction, speedup in ((1.1, 2), (-0.1, 2), (0.5, 0)):
        with pytest.raises(ValueError, match="fraction|positive"):
            amdahl_bound(fraction, speedup)


def test_stage_fraction() -> None:
    stages = {"extract": 3.0, "train": 1.0}
    assert stage_fraction(stages, "extract") == 0.75
    assert stage_fraction(stages, "decode") is None


def test_warmup_settles_when_the_windowed_median_does() -> None:
    falling = [2.0, 1.8, 1.6, 1.4, 1.3, 1.2, 1.1, 1.05, 1.02, 1.01]
    steady = [1.0, 1.001, 0.999] * 5
    assert not settled(falling)
    assert settled(falling + steady)
    assert settling_point(steady) == 10
    assert settling_point(falling) is None


def test_warmup_is_not_fooled_by_one_interruption() -> None:
    samples = [1.0] * 5 + [9.0] + [1.0] * 4
    assert settled(samples)
