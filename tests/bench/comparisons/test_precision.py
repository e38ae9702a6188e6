"""Precision is an effect of its own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sparsebench.bench.comparisons import (
    compare_run,
)
from tests.bench.comparisons.finding import ACDC, DENSE, with_precision
from tests.bench.synthetic import (
    SyntheticRun,
)


def test_precision_is_a_factor_of_its_own(run: SyntheticRun) -> None:
    """Dense fp32 on the best engine -> dense fp32 here -> dense int8 here -> sparse int8 here."""
    ort = run.record("inference", DENSE, "onnxruntime")
    dense = run.record("inference", DENSE, "deepsparse")
    sparse = run.record("inference", ACDC, "deepsparse")
    half = tuple(replace(t, seconds=tuple(2 * s for s in t.seconds)) for t in dense.trials)
    dense8 = replace(with_precision(dense, "int8", "-8"), trials=half)  # twice as slow
    sparse8 = with_precision(sparse, "int8", "-8")
    comparison = compare_run([ort, dense, dense8, sparse8])[0]
    assert comparison.dense == dense8.id
    assert comparison.effects is not None and comparison.total is not None
    assert comparison.effects.engine == pytest.approx(1 / 1.1, rel=0.1)
    assert comparison.effects.precision == pytest.approx(0.5)
    assert comparison.effects.sparsity == pytest.approx(8, rel=0.1)
    product = math.prod(vars(comparison.effects).values())
    assert product == pytest.approx(comparison.total.median, rel=1e-12)


def test_precision_without_a_reference_here_is_part_of_the_engine_effect(
    run: SyntheticRun,
) -> None:
    ort = run.record("inference", DENSE, "onnxruntime")
    dense8 = with_precision(run.record("inference", DENSE, "deepsparse"), "int8", "-8")
    sparse8 = with_precision(run.record("inference", ACDC, "deepsparse"), "int8", "-8")
    comparison = compare_run([ort, dense8, sparse8])[0]
    assert comparison.effects is not None
    assert comparison.effects.precision == 1.0
    assert any("precision" in note for note in comparison.notes)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_faster_dense_cell_in_any_precision_is_the_best_dense_of_an_fp32_cell(
    run: SyntheticRun, precision: str
) -> None:
    """An expert without zeros would run it, whatever it computes in."""
    dense = run.record("inference", DENSE, "deepsparse")
    sparse = run.record("inference", ACDC, "deepsparse")
    faster = tuple(replace(t, seconds=tuple(s / 2 for s in t.seconds)) for t in dense.trials)
    rival = replace(with_precision(dense, precision, "-rival"), trials=faster)
    comparison = compare_run([dense, rival, sparse])[0]
    assert comparison.speedup is not None and comparison.total is not None
    assert comparison.dense == dense.id
    assert comparison.best_dense == rival.id
    assert comparison.total.median == pytest.approx(comparison.speedup.median / 2)
