"""Statistics against scipy, closed forms, the paper's figures and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bench.statistics import (
    BlockPair,
    RatioEstimate,
    accuracy_delta,
    amdahl_bound,
    bootstrap_interval,
    chain_ratios,
    change_of,
    estimate_ratio,
    geometric_interval,
    geometric_mean,
    holm,
    mean_interval,
    relative_error_increase,
    settled,
    settling_point,
    stage_fraction,
    verdict,
)

times = st.lists(
    st.floats(min_value=1e-4, max_value=1e3, allow_nan=False), min_size=1, max_size=7
).map(lambda values: np.array(values))
blocks = st.lists(st.builds(BlockPair, st.tuples(times), st.tuples(times)), min_size=1, max_size=6)


def simulated(
    rng: np.random.Generator,
    count: int,
    ratio: float = 1.0,
    process: float = 0.02,
    iteration: float = 0.005,
    samples: int = 20,
) -> list[BlockPair]:
    """Blocks whose processes differ by `process` and iterations by `iteration` (relative)."""

    def side(level: float) -> tuple[NDArray[np.float64], ...]:
        log = math.log(level) + rng.normal(0, process) + rng.normal(0, iteration, samples)
        return (np.exp(log),)

    return [BlockPair(side(ratio), side(1.0)) for _ in range(count)]


# --- intervals


def test_mean_interval_is_students_t() -> None:
    values = [0.91, 0.93, 0.92, 0.915, 0.935]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    interval = mean_interval(values)
    assert interval.mid == pytest.approx(np.mean(values))
    assert interval.ci95 == pytest.approx((expected.low, expected.high))


def test_one_value_has_no_interval() -> None:
    interval = mean_interval([0.9])
    assert interval.mid == 0.9
    assert interval.ci95 is None


def test_geometric_interval_of_inverses_is_the_inverse() -> None:
    values = np.array([1.1, 1.3, 0.9, 1.2])
    one, other = geometric_interval(values), geometric_interval(1 / values)
    assert one.mid == pytest.approx(stats.gmean(values))
    assert (one.mid * other.mid, one.low * other.high) == pytest.approx((1, 1))


# --- ratios


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


# --- coverage: the interval holds the truth as often as it says


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


# --- verdicts


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


# --- aggregates


def test_geometric_mean_of_cells_is_the_t_interval_of_logs() -> None:
    ratios = [2.0, 3.0, 4.5, 2.5]
    expected = stats.ttest_1samp(np.log(ratios), 0).confidence_interval(0.95)
    mean = geometric_mean(ratios)
    assert mean.median == pytest.approx(stats.gmean(ratios))
    assert mean.ci95 == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    assert mean.blocks == 4


def test_geometric_mean_of_one_estimate_keeps_its_interval() -> None:
    one = RatioEstimate(2.0, 1.9, 2.1, 5, 0.03)
    assert geometric_mean([one]) == one
    with pytest.raises(ValueError, match="at least one"):
        geometric_mean([])


def test_chained_independent_ratios_add_their_log_widths_in_quadrature() -> None:
    one, two = (
        RatioEstimate(2, 2 / 1.1, 2 * 1.1, 5, 0.1),
        RatioEstimate(3, 3 / 1.2, 3 * 1.2, 8, 0.1),
    )
    chained = chain_ratios(one, two)
    half = math.hypot(math.log(1.1), math.log(1.2))
    assert chained.median == pytest.approx(6)
    assert chained.ci95 == pytest.approx((6 / math.exp(half), 6 * math.exp(half)))
    assert chained.blocks == 5


# --- accuracy


def test_accuracy_delta_pairs_by_seed() -> None:
    """What all seeds share (an easy draw of batches) cancels, as in a paired t-test."""
    dense, sparse = [0.90, 0.94, 0.92], [0.885, 0.926, 0.904]
    expected = stats.ttest_rel(sparse, dense).confidence_interval(0.95)
    delta = accuracy_delta(sparse, dense)
    assert delta.mid == pytest.approx(-1.5)
    assert delta.ci95 == pytest.approx((expected.low * 100, expected.high * 100))
    with pytest.raises(ValueError, match="seeds"):
        accuracy_delta([0.9], [0.9, 0.8])


# The CVPR 2022 paper, ResNet-50, linear, mean over seeds; twelve tasks.
DENSE = (91.23, 74.59, 49.16, 57.73, 91.86, 84.77, 53.44, 73.52, 91.56, 73.23, 92.59, 60.13)
PAPER = {
    "AC/DC 80%": (
        (90.89, 74.70, 55.12, 58.45, 92.38, 84.64, 56.60, 74.35, 92.72, 73.81, 92.31, 60.41),
        -0.032,
    ),
    "STR 98%": (
        (86.46, 67.43, 48.02, 43.71, 86.31, 73.45, 44.36, 68.35, 90.84, 65.30, 85.47, 50.92),
        0.381,
    ),
    "LTH-T 90%": (
        (67.03, 42.21, 16.53, 11.44, 49.00, 41.98, 15.35, 54.73, 67.73, 46.90, 43.81, 31.70),
        2.206,
    ),
}


@pytest.mark.parametrize("method", PAPER)
def test_relative_error_increase_reproduces_the_papers_means(method: str) -> None:
    sparse, expected = PAPER[method]
    increases = []
    for ours, theirs in zip(sparse, DENSE, strict=True):
        increase = relative_error_increase([ours / 100], [theirs / 100])
        assert increase is not None
        increases.append(increase.mid)
    assert np.mean(increases) == pytest.approx(expected, abs=0.0006)


def test_relative_error_increase_orders_its_interval_and_knows_perfection() -> None:
    increase = relative_error_increase([0.88, 0.89, 0.87], [0.90, 0.90, 0.91])
    assert increase is not None
    assert increase.low < increase.mid < increase.high
    assert relative_error_increase([0.9, 0.9], [1.0, 1.0]) is None


# --- bounds


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


# --- warm-up


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


# --- changes between runs


def test_a_change_is_welchs_t_test_of_the_block_log_ratios() -> None:
    rng = np.random.default_rng(4)
    before = simulated(rng, 5, 2.0, iteration=0.0, samples=1)
    now = simulated(rng, 8, 1.7, process=0.05, iteration=0.0, samples=1)
    logs = [np.array([pair.log_ratio() for pair in pairs]) for pairs in (now, before)]
    expected = stats.ttest_ind(*logs, equal_var=False)
    interval = expected.confidence_interval(0.95)
    change = change_of(estimate_ratio(before), estimate_ratio(now))
    assert change.ratio == pytest.approx(math.exp(logs[0].mean() - logs[1].mean()))
    assert change.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert change.ci95 == pytest.approx((math.exp(interval.low), math.exp(interval.high)))


def test_a_change_back_is_the_inverse_and_one_block_proves_nothing() -> None:
    rng = np.random.default_rng(6)
    one, other = (estimate_ratio(simulated(rng, 4, 1.3)) for _ in range(2))
    there, back = change_of(one, other), change_of(other, one)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)
    assert there.p == pytest.approx(back.p)
    single = change_of(one, estimate_ratio(simulated(rng, 1, 9.0)))
    assert (single.p, single.ci95) == (1.0, None)


def test_holm_steps_down_and_never_up() -> None:
    """The worked example of the method's Wikipedia article: thresholds 0.05 / 4, 3, 2, 1."""
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [p < 0.05 for p in adjusted] == [True, False, False, True]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_bonferroni_for_the_smallest_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert min(adjusted) == pytest.approx(min(1.0, min(p_values) * len(p_values)))
    assert all(one >= p for one, p in zip(adjusted, p_values, strict=True))
    by_p = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert by_p == sorted(by_p)
