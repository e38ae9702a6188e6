"""Changes between runs, and many of them at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsebench.bench.statistics import (
    change_of,
    estimate_ratio,
    holm,
)
from tests.bench.statistics.simulated import simulated


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
