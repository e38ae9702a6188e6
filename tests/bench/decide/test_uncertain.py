"""Probabilities against closed forms and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sparsebench.bench.decide.uncertain import Uncertain, combined, log_of_ratio, of_values
from sparsebench.bench.records import Estimate

EXACT = Uncertain(0.0, 0.0, math.inf)


@pytest.mark.parametrize("x", [-3.0, -0.5, 0.0, 0.7, 4.0])
def test_one_and_two_degrees_of_freedom_have_closed_forms(x: float) -> None:
    cauchy = 0.5 + math.atan(x) / math.pi
    two = 0.5 + x / (2 * math.sqrt(2 + x * x))
    assert Uncertain(1.0, 0.5, 1).at_most(1 + 0.5 * x) == pytest.approx(cauchy)
    assert Uncertain(1.0, 0.5, 2).at_most(1 + 0.5 * x) == pytest.approx(two)


def test_the_end_of_a_95_percent_interval_leaves_two_and_a_half_percent() -> None:
    values = [1.0, 1.2, 1.3, 0.9]
    found = of_values(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert found.at_most(low) == pytest.approx(0.025)
    assert found.at_most(high) == pytest.approx(0.975)


def test_what_is_exact_is_certain_and_what_has_one_value_is_unknown() -> None:
    assert EXACT.at_most(0.0) == 1.0
    assert EXACT.at_most(-0.1) == 0.0
    assert of_values([3.0]).at_most(5.0) is None
    assert of_values([3.0]).minus(EXACT).at_most(5.0) is None


def test_a_difference_of_independent_numbers_is_welchs_test() -> None:
    ours, theirs = [1.0, 1.1, 0.9, 1.05], [1.2, 1.5, 1.1]
    welch = stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater")
    found = of_values(ours).minus(of_values(theirs))
    assert found.degrees == pytest.approx(welch.df)
    # P(difference <= 0) is the p-value against "it is greater"
    assert found.at_most(0.0) == pytest.approx(welch.pvalue)


def test_a_ratio_keeps_the_wider_side_of_its_interval() -> None:
    ratio = Estimate(2.0, (1.0, 3.0), 3)
    found = log_of_ratio(ratio)
    assert found.mid == pytest.approx(math.log(2))
    assert found.at_most(0.0) == pytest.approx(0.025)  # log 2 - log 1 is the wider side
    assert log_of_ratio(Estimate(2.0, None, 1)).error is None


def test_a_mean_of_two_tasks_has_the_error_and_degrees_of_satterthwaite() -> None:
    """0.5 a + 0.5 b with variances of the means 0.04 (4 degrees) and 0.01 (9 degrees)."""
    found = combined([(0.5, Uncertain(1.0, 0.2, 4)), (0.5, Uncertain(3.0, 0.1, 9))])
    assert found.mid == pytest.approx(2.0)
    assert found.error == pytest.approx(math.sqrt(0.25 * 0.04 + 0.25 * 0.01))
    parts = (0.25 * 0.04, 0.25 * 0.01)
    expected = sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 9)
    assert found.degrees == pytest.approx(expected)
    low, high = found.interval() or (0.0, 0.0)
    half = stats.t.ppf(0.975, expected) * found.error
    assert [low, high] == pytest.approx([2 - half, 2 + half])
