"""Intervals of means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sparsebench.bench.statistics import (
    geometric_interval,
    mean_interval,
)


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
