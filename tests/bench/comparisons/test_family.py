"""Holm's correction over a run's comparisons, against scipy and statsmodels' definition."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.comparisons.family import hold_after_holm
from sparsebench.bench.records import Comparison, Estimate
from tests.bench.synthetic import make_run

BLOCKS = 5


def speedup(name: str, log: float, error: float) -> Comparison:
    half = float(stats.t.ppf(0.975, BLOCKS - 1)) * error
    interval = (math.exp(log - half), math.exp(log + half))
    return Comparison(
        run="r", workload="inference", sparse=name, dense="d", trained=True,
        speedup=Estimate(math.exp(log), interval, BLOCKS),
    )  # fmt: skip


def test_p_values_are_those_of_the_t_test_step_by_step() -> None:
    logs = {"a": 0.30, "b": 0.16, "c": 0.14, "d": 0.001}
    found = hold_after_holm([speedup(n, log, 0.05) for n, log in logs.items()])
    raw = [2 * stats.t.sf(log / 0.05, BLOCKS - 1) for log in logs.values()]
    # Already sorted: the smallest is multiplied by 4, the next by 3, ... and never falls.
    expected, largest = [], 0.0
    for rank, p in enumerate(raw):
        largest = max(largest, min(1.0, (4 - rank) * p))
        expected.append(largest)
    assert [c.p_holm for c in found] == pytest.approx(expected, rel=1e-6)
    assert [c.holds for c in found] == [expected[0] < 0.05, expected[1] < 0.05, False, None]
    assert raw[2] < 0.05 < expected[2]
    assert [c.verdict for c in found] == ["better"] + ["inconclusive"] * 3
    assert (
        "excludes 1; corrected for this run's 4 comparisons (Holm), it does not"
        in found[2].notes[-1]
    )
    assert not found[0].notes and not found[3].notes


def test_an_interval_inside_the_smallest_effect_is_a_tie_either_way() -> None:
    """Half widths of 2.8 and 5.6 % around 1, and a significant but small 3 %."""
    found = hold_after_holm(
        [speedup("a", 0.0, 0.01), speedup("b", 0.0, 0.02), speedup("c", math.log(1.03), 0.005)]
    )
    assert [c.verdict for c in found] == ["tied", "inconclusive", "tied"]


def test_one_comparison_needs_no_correction() -> None:
    (alone,) = hold_after_holm([speedup("a", 0.15, 0.05)])
    assert alone.p_holm == pytest.approx(2 * stats.t.sf(3, BLOCKS - 1), rel=1e-6)
    assert alone.holds is True and not alone.notes


def test_a_single_block_and_a_failed_comparison_prove_nothing() -> None:
    lone = Comparison(
        run="r", workload="inference", sparse="s", dense="d", trained=True,
        speedup=Estimate(2.0, None, 1), verdict="inconclusive",
    )  # fmt: skip
    failed = Comparison("r", "inference", "s", None, True, status="failed", reason="it broke")
    first, second = hold_after_holm([lone, failed])
    assert (first.p_holm, first.holds) == (1.0, None)
    assert (second.p_holm, second.holds) == (None, None)


def test_runs_state_it_and_files_keep_it() -> None:
    run = make_run()
    found = compare_run(run.records, run.trials)
    assert all(c.p_holm is not None for c in found if c.status == "ok")
    for comparison in found:
        if comparison.verdict in ("better", "worse"):
            assert comparison.holds is True
        assert Comparison.from_json(comparison.to_json()) == comparison
    older = {k: v for k, v in found[0].to_json().items() if k not in ("p_holm", "holds")}
    assert Comparison.from_json(older).holds is None
