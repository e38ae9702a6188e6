"""Probabilities against closed forms and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sparsebench.bench.decide.uncertain import EXACT_ZERO, Uncertain, log_of_ratio, of_values
from sparsebench.bench.statistics import RatioEstimate


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
    assert EXACT_ZERO.at_most(0.0) == 1.0
    assert EXACT_ZERO.at_most(-0.1) == 0.0
    assert of_values([3.0]).at_most(5.0) is None
    assert of_values([3.0]).minus(EXACT_ZERO).at_most(5.0) is None


def test_a_difference_of_independent_numbers_is_welchs_test() -> None:
    ours, theirs = [1.0, 1.1, 0.9, 1.05], [1.2, 1.5, 1.1]
    welch = stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater")
    found = of_values(ours).minus(of_values(theirs))
    assert found.degrees == pytest.approx(welch.df)
    # P(difference <= 0) is the p-value against "it is greater"
    assert found.at_most(0.0) == pytest.approx(welch.pvalue)


def test_a_ratio_keeps_the_wider_side_of_its_interval() -> None:
    ratio = RatioEstimate(2.0, 1.0, 3.0, 3, 0.1)
    found = log_of_ratio(ratio)
    assert found.mid == pytest.approx(math.log(2))
    assert found.at_most(0.0) == pytest.approx(0.025)  # log 2 - log 1 is the wider side
    assert log_of_ratio(RatioEstimate(2.0, 0.0, math.inf, 1, math.inf)).error is None
