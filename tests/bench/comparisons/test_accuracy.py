"""The accuracy change beside a speed-up."""

from __future__ import annotations

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
)


def test_accuracy_change_is_paired_by_seed(run: SyntheticRun, compared: list[Comparison]) -> None:
    comparison = of(run, compared, "linear-cached", ACDC, "deepsparse")
    sparse = run.record("linear-cached", ACDC, "deepsparse").accuracy
    dense = run.record("linear-cached", DENSE, "deepsparse").accuracy
    assert sparse is not None and dense is not None
    delta = comparison.accuracy_delta
    assert delta is not None and delta.ci95 is not None
    assert delta.mean == pytest.approx((sparse.mean - dense.mean) * 100)
    assert delta.ci95[0] < delta.mean < delta.ci95[1]
    increase = comparison.relative_error_increase
    assert increase == pytest.approx((dense.mean - sparse.mean) / (1 - dense.mean))
    assert comparison.accuracy_from is None


def test_seeds_in_another_order_are_still_pairs(run: SyntheticRun) -> None:
    record = run.record("linear-cached", ACDC, "deepsparse")
    assert record.accuracy is not None and record.accuracy.seeds is not None
    mixed = replace(
        record.accuracy,
        per_seed=record.accuracy.per_seed[::-1],
        seeds=record.accuracy.seeds[::-1],
    )
    turned = run.replaced(record, accuracy=mixed)
    before = of(run, compare_run(run.records), "linear-cached", ACDC, "deepsparse")
    after = of(turned, compare_run(turned.records), "linear-cached", ACDC, "deepsparse")
    assert before.accuracy_delta is not None and after.accuracy_delta is not None
    assert after.accuracy_delta.ci95 == pytest.approx(before.accuracy_delta.ci95)


def test_inference_borrows_the_accuracy_of_its_training_workload(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    lender = of(run, compared, "linear-cached", ACDC, "deepsparse")
    borrower = of(run, compared, "inference", ACDC, "deepsparse")
    assert borrower.accuracy_delta == lender.accuracy_delta
    assert borrower.accuracy_from == lender.sparse
    assert any("linear-cached" in note for note in borrower.notes)


def test_without_any_accuracy_there_is_none() -> None:
    run = make_run(workloads=("inference",))
    comparison = compare_run(run.records, run.trials)[0]
    assert comparison.status == "ok"
    assert comparison.accuracy_delta is None


def test_generated_weights_are_marked(compared: list[Comparison], run: SyntheticRun) -> None:
    generated = of(run, compared, "inference", "resnet18/erk-90@generated", "deepsparse")
    assert not generated.trained
    assert of(run, compared, "inference", ACDC, "deepsparse").trained


@pytest.mark.parametrize(("optimum", "said"), [(0.95, True), (0.913, False), (None, False)])
def test_heads_that_sgd_leaves_short_of_their_optimum_are_named(
    optimum: float | None, said: bool
) -> None:
    run = make_run(blocks=3)
    dense = run.record("linear-cached", DENSE, "torch")
    run = run.replaced(dense, extra={**dense.extra, "optimum_accuracy": optimum})
    comparison = of(run, compare_run(run.records, run.trials), "linear-cached", ACDC, "torch")
    notes = [note for note in comparison.notes if "optimum" in note]
    assert bool(notes) == said
    if said:
        assert dense.accuracy is not None
        assert f"resnet18/dense at {dense.accuracy.mean:.1%}" in notes[0] and "95.0%" in notes[0]
