"""Two runs that alternated: the ratio of a block from its visits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sparsebench.bench.comparisons.alternated_visits import pair_visits, split_visits
from sparsebench.bench.records import VISITS, Trial
from sparsebench.bench.statistics import estimate_ratio
from tests.bench.synthetic import make_run


def a_trial(**changes: object) -> Trial:
    run = make_run(blocks=1)
    trial = next(one for one in run.trials if one.workload == "inference")
    return replace(trial, **changes)  # type: ignore[arg-type]


def test_a_trial_is_cut_where_its_visits_end() -> None:
    trial = a_trial(seconds=(2.0, 4.0, 6.0, 8.0), items=2, extra={VISITS: [1, 3]})
    assert [list(one) for one in split_visits(trial)] == [[1.0], [2.0, 3.0, 4.0]]
    assert [one.size for one in split_visits(replace(trial, extra={}))] == [4]
    with pytest.raises(ValueError, match="5 calls"):
        split_visits(replace(trial, extra={VISITS: [5]}))


def test_bursts_on_either_side_leave_the_ratio_alone() -> None:
    """One core of two is taken for a second, now and then: x1.75 on whichever side it hits."""
    clean = np.full(3, 0.03)
    burst = 1.75 * clean
    base = [clean, burst, burst, clean, clean, clean, burst, clean]
    head = [clean, burst, clean, clean, clean, burst, burst, clean]
    assert math.exp(pair_visits(base, head).log_ratio()) == pytest.approx(1.0)
    slower = [1.1 * one for one in head]
    assert math.exp(pair_visits(base, slower).log_ratio()) == pytest.approx(1 / 1.1)
    # The medians of all calls, which stand for a cell on its own, are fooled by as much.
    more = [burst, burst, burst, burst, clean, clean, burst, clean]
    assert np.median(np.concatenate(more)) == pytest.approx(1.75 * 0.03)


@pytest.mark.parametrize("visits", [2, 3, 8])
def test_the_ratio_the_other_way_round_is_the_inverse(visits: int) -> None:
    rng = np.random.default_rng(0)
    blocks = [[list(rng.lognormal(size=(visits, 4))) for _ in range(2)] for _ in range(4)]
    there = estimate_ratio([pair_visits(ours, theirs) for ours, theirs in blocks])
    back = estimate_ratio([pair_visits(theirs, ours) for ours, theirs in blocks])
    assert there.median == pytest.approx(1 / back.median)


def test_a_sides_own_trials_are_kept_where_visits_do_not_match() -> None:
    ours, theirs = [np.array([1.0, 2.0])], [np.array([1.0]), np.array([4.0])]
    assert math.exp(pair_visits(ours, theirs).log_ratio()) == pytest.approx(1.5 / 2)
