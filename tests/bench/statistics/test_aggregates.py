"""Aggregates over cells, and changes of accuracy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sparsebench.bench.statistics import (
    RatioEstimate,
    accuracy_delta,
    chain_ratios,
    geometric_mean,
    relative_error_increase,
)


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
