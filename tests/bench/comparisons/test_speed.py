"""Speed-ups and effects of synthetic runs whose true ratios are known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from sparsebench.bench.comparisons import (
    compare_run,
)
from sparsebench.bench.records import Comparison
from tests.bench.comparisons.finding import ACDC, DENSE, of
from tests.bench.synthetic import (
    SyntheticRun,
    make_run,
    true_speedup,
    true_total,
)


def test_every_sparse_record_is_compared_once(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    sparse = [record.id for record in run.records if record.backbone.name != DENSE]
    assert [comparison.sparse for comparison in compared] == sparse
    assert {comparison.status for comparison in compared} == {"ok"}


def test_intervals_hold_the_true_ratios_as_often_as_they_say() -> None:
    inside, total_inside, count = 0, 0, 0
    for seed in range(6):
        run = make_run(seed=seed)
        by_id = {record.id: record for record in run.records}
        for comparison in compare_run(run.records, run.trials):
            record = by_id[comparison.sparse]
            cell = (record.workload, record.backbone.name, record.engine.name)
            assert comparison.speedup is not None and comparison.speedup.ci95 is not None
            assert comparison.total is not None and comparison.total.ci95 is not None
            low, high = comparison.speedup.ci95
            inside += low <= true_speedup(*cell) <= high
            low, high = comparison.total.ci95
            total_inside += low <= true_total(*cell) <= high
            count += 1
    assert inside / count > 0.88
    assert total_inside / count > 0.88


def test_drift_common_to_a_block_cancels() -> None:
    """Without process effects only the drift of 5 % is left, and the ratio is exact."""
    run = make_run(process=0, iteration=0)
    comparison = of(run, compare_run(run.records, run.trials), "inference", ACDC, "deepsparse")
    assert comparison.speedup is not None and comparison.speedup.ci95 is not None
    assert comparison.speedup.ci95 == pytest.approx((4.0, 4.0))
    assert comparison.speedup.blocks == 5


def test_effects_multiply_to_the_total(compared: list[Comparison]) -> None:
    for comparison in compared:
        effects, total = comparison.effects, comparison.total
        assert effects is not None and total is not None and comparison.speedup is not None
        product = effects.engine * effects.sparsity * effects.precision
        assert product == pytest.approx(total.median, rel=1e-12)
        assert effects.sparsity == comparison.speedup.median
        assert total.ci95 is not None
        assert total.ci95[0] < total.median < total.ci95[1]


def test_total_is_against_the_best_dense_engine(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    best = {w: run.record(w, DENSE, "onnxruntime").id for w in ("inference", "linear-cached")}
    assert all(comparison.best_dense == best[comparison.workload] for comparison in compared)
    own = of(run, compared, "inference", ACDC, "onnxruntime")
    assert own.total == own.speedup
    assert own.effects is not None and own.effects.engine == 1.0


def test_verdicts(run: SyntheticRun, compared: list[Comparison]) -> None:
    fast = of(run, compared, "inference", ACDC, "deepsparse")
    assert (fast.verdict, fast.total_verdict) == ("better", "better")
    null = of(run, compared, "inference", ACDC, "onnxruntime")
    assert null.verdict == "tied"
    slow = of(run, compared, "inference", ACDC, "torch")  # no gain, on an engine that is slower
    assert (slow.verdict, slow.total_verdict) == ("inconclusive", "worse")
    assert slow.smallest_effect is not None and 0 < slow.smallest_effect < 0.3


def test_trials_in_the_records_serve_where_no_file_has_them(run: SyntheticRun) -> None:
    assert compare_run(run.records) == compare_run(run.records, run.trials)


def test_discarded_and_failed_trials_do_not_count(run: SyntheticRun) -> None:
    wild = [
        replace(t, status=status, reason="drift", seconds=tuple(9 * s for s in t.seconds))
        for t, status in zip(run.trials, itertools.cycle(["discarded", "failed"]), strict=False)
    ]
    assert compare_run(run.records, [*run.trials, *wild]) == compare_run(run.records, run.trials)


def test_one_block_gives_a_point_without_interval_or_verdict() -> None:
    run = make_run(blocks=1)
    comparison = of(run, compare_run(run.records, run.trials), "inference", ACDC, "deepsparse")
    assert comparison.speedup is not None and comparison.speedup.ci95 is None
    assert comparison.verdict == "inconclusive"
    assert comparison.smallest_effect is None
    assert any("interval" in note for note in comparison.notes)
