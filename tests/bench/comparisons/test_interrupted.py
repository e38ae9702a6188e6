"""Blocks that a kill cut in two."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sparsebench.bench.comparisons import (
    compare_run,
)
from tests.bench.comparisons.finding import ACDC, DENSE, of
from tests.bench.synthetic import (
    SyntheticRun,
)


def interrupted(run: SyntheticRun, engine: str, blocks: set[int], factor: float) -> SyntheticRun:
    """The sparse side of some blocks runs in a second launch, on a machine `factor` slower."""
    cell = run.record("inference", ACDC, engine).id
    trials = [
        replace(t, launch="resumed", seconds=tuple(factor * s for s in t.seconds))
        if t.cell == cell and t.block in blocks
        else t
        for t in run.trials
    ]
    return SyntheticRun(run.records, trials)


def test_split_blocks_are_left_out_and_counted(run: SyntheticRun) -> None:
    cut = interrupted(run, "deepsparse", {4}, factor=3)
    comparison = of(cut, compare_run(cut.records, cut.trials), "inference", ACDC, "deepsparse")
    assert comparison.split_blocks == 1
    assert comparison.speedup is not None
    assert comparison.speedup.blocks == 4
    assert comparison.speedup.median == pytest.approx(4.0, rel=0.1)
    assert comparison.effects is not None and comparison.total is not None
    product = math.prod(vars(comparison.effects).values())
    assert product == pytest.approx(comparison.total.median, rel=1e-12)
    assert any("left out" in note for note in comparison.notes)


def test_split_blocks_are_used_where_fewer_than_two_whole_ones_exist(run: SyntheticRun) -> None:
    cut = interrupted(run, "deepsparse", {1, 2, 3, 4}, factor=1)
    comparison = of(cut, compare_run(cut.records, cut.trials), "inference", ACDC, "deepsparse")
    assert comparison.split_blocks == 4
    assert comparison.speedup is not None and comparison.speedup.blocks == 5
    assert any("used all the same" in note for note in comparison.notes)


def test_best_engine_with_a_missing_block_still_gives_a_total(run: SyntheticRun) -> None:
    best = run.record("inference", DENSE, "onnxruntime").id
    trials = [t for t in run.trials if not (t.cell == best and t.block == 0)]
    cut = SyntheticRun(run.records, trials)
    comparison = of(cut, compare_run(cut.records, cut.trials), "inference", ACDC, "deepsparse")
    assert comparison.effects is not None and comparison.total is not None
    assert comparison.best_dense == best
    product = math.prod(vars(comparison.effects).values())
    assert product == pytest.approx(comparison.total.median, rel=1e-12)
    assert comparison.total.ci95 is not None and comparison.speedup is not None
    assert comparison.speedup.ci95 is not None
    widths = [high / low for low, high in (comparison.total.ci95, comparison.speedup.ci95)]
    assert widths[0] > widths[1]  # as if engine and sparsity effect were independent
    assert any("misses blocks" in note for note in comparison.notes)
