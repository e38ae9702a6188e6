"""Ratios of paired blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from sparsebench.bench.statistics import (
    BlockPair,
    bootstrap_interval,
    estimate_ratio,
    ratios,
    verdict,
)
from tests.bench.statistics.simulated import blocks, simulated, times


def test_ratio_of_few_blocks_is_the_t_interval_of_the_log_ratios() -> None:
    """Where samples agree within a trial, the bootstrap is the narrower one."""
    numerators, denominators = [4.0, 4.4, 3.9, 4.1, 4.2], [1.0, 1.02, 1.01, 0.98, 1.0]
    pairs = [
        BlockPair((np.full(9, n),), (np.full(9, d),))
        for n, d in zip(numerators, denominators, strict=True)
    ]
    logs = np.log(np.array(numerators) / np.array(denominators))
    expected = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    ratio = estimate_ratio(pairs)
    assert ratio.median == pytest.approx(stats.gmean(np.exp(logs)))
    assert ratio.ci95 == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    assert ratio.blocks == 5


def test_median_inside_a_trial_ignores_an_interrupted_iteration() -> None:
    quiet = np.array([1.0, 1.01, 0.99, 1.0, 1.0])
    disturbed = np.array([1.0, 1.01, 0.99, 1.0, 30.0])
    other = (np.full(5, 2.0),)
    assert estimate_ratio([BlockPair((disturbed,), other)] * 3).median == pytest.approx(
        estimate_ratio([BlockPair((quiet,), other)] * 3).median
    )


def test_abba_trials_of_a_side_are_averaged() -> None:
    pair = BlockPair((np.array([1.0]), np.array([4.0])), (np.array([1.0]), np.array([1.0])))
    assert math.exp(pair.log_ratio()) == pytest.approx(2.0)


def test_bootstrap_resamples_medians_as_drawing_every_sample_would() -> None:
    rng = np.random.default_rng(5)
    values = np.exp(rng.normal(0, 0.1, 11))
    pairs = [BlockPair((values,), (np.ones(11),))] * 2  # equal blocks: only the inner level
    low, high = bootstrap_interval(pairs, resamples=40_000)
    drawn = np.median(rng.choice(values, size=(80_000, 2, 11)), axis=2)
    expected = np.quantile(np.sqrt(drawn[:, 0] * drawn[:, 1]), [0.025, 0.975])
    assert (low, high) == pytest.approx(expected, rel=0.004)


def test_blocks_that_agree_by_chance_keep_the_noise_of_their_samples() -> None:
    samples = np.exp(np.random.default_rng(0).normal(0, 0.1, 10))
    ratio = estimate_ratio([BlockPair((samples,), (np.ones(10),))] * 3)
    assert ratio.high / ratio.low > 1.05


def test_a_bootstrap_that_is_not_drawn_would_have_changed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    many = [
        simulated(rng, count, process=process, iteration=iteration)
        for count in (3, 5, 9)
        for process in (0.0, 0.02)
        for iteration in (0.0, 0.005, 0.2)
        for _ in range(6)
    ]
    drawn = []

    def counted(*args: Any, **options: Any) -> Any:
        drawn.append(1)
        return bootstrap_interval(*args, **options)

    monkeypatch.setattr(ratios, "bootstrap_interval", counted)
    found = [estimate_ratio(pairs, seed=11) for pairs in many]
    assert len(many) / 6 < len(drawn) < len(many) * 5 / 6
    monkeypatch.setattr(ratios, "stays_within", lambda *_: False)
    ratios._known.clear()
    assert [estimate_ratio(pairs, seed=11) for pairs in many] == found


def test_samples_that_somebody_may_change_are_looked_at_again() -> None:
    samples = np.full(5, 2.0)
    pairs = [BlockPair((samples,), (np.ones(5),))] * 3
    assert estimate_ratio(pairs).median == pytest.approx(2)
    samples[:] = 3.0
    assert estimate_ratio(pairs).median == pytest.approx(3)


def test_same_seed_same_interval() -> None:
    pairs = simulated(np.random.default_rng(1), 3, process=0, iteration=0.1)
    assert estimate_ratio(pairs, seed=4) == estimate_ratio(pairs, seed=4)
    assert estimate_ratio(pairs, seed=4) != estimate_ratio(pairs, seed=5)


def test_one_block_has_no_interval_and_no_verdict() -> None:
    ratio = estimate_ratio([BlockPair((np.array([9.0]),), (np.array([1.0]),))])
    assert ratio.median == pytest.approx(9)
    assert ratio.ci95 is None
    assert verdict(ratio) == "inconclusive"


@given(blocks)
@settings(max_examples=60, deadline=None)
def test_ratio_times_inverse_ratio_is_one(pairs: list[BlockPair]) -> None:
    there = estimate_ratio(pairs, resamples=100)
    back = estimate_ratio(
        [BlockPair(pair.denominator, pair.numerator) for pair in pairs], resamples=100
    )
    assert there.median * back.median == pytest.approx(1)
    if there.ci95 and back.ci95:
        assert there.low * back.high == pytest.approx(1)
        assert there.high * back.low == pytest.approx(1)


@given(st.lists(times, min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_speedup_of_a_cell_over_itself_contains_one(sides: list[NDArray[np.float64]]) -> None:
    ratio = estimate_ratio([BlockPair((s,), (s,)) for s in sides], resamples=100)
    assert ratio.low <= 1 <= ratio.high
    assert verdict(ratio) == "inconclusive"


@given(blocks, st.floats(min_value=1e-3, max_value=1e3))
@settings(max_examples=40, deadline=None)
def test_unit_of_time_does_not_matter(pairs: list[BlockPair], unit: float) -> None:
    scaled = [
        BlockPair(tuple(s * unit for s in p.numerator), tuple(s * unit for s in p.denominator))
        for p in pairs
    ]
    one, other = (estimate_ratio(p, resamples=100) for p in (pairs, scaled))
    assert other.median == pytest.approx(one.median)
    assert other.low == pytest.approx(one.low)
    assert other.high == pytest.approx(one.high)


@given(st.lists(st.tuples(*[st.floats(0.01, 100)] * 3), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_ratios_multiply_along_a_chain(sides: list[tuple[float, float, float]]) -> None:
    def ratio(i: int, j: int) -> float:
        pairs = [BlockPair((np.array([s[i]]),), (np.array([s[j]]),)) for s in sides]
        return estimate_ratio(pairs, resamples=10).median

    assert ratio(0, 1) * ratio(1, 2) == pytest.approx(ratio(0, 2))


@pytest.mark.parametrize("samples", [np.array([]), np.array([0.0]), np.array([1.0, math.nan])])
def test_times_that_are_none_are_refused(samples: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"sample|positive"):
        estimate_ratio([BlockPair((samples,), (np.array([1.0]),))])
