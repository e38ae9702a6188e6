"""Adaptive stopping: narrow enough, out of time, or all blocks; and honest intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Trial
from sparsebench.bench.run.stopping import most_blocks, stops
from sparsebench.bench.statistics import BlockPair, estimate_ratio
from sparsebench.models.errors import SparsebenchError

SPARSE = "resnet18/uniform-90@generated"
PLAN = Plan(
    backbones=(SPARSE,), engines=("onnxruntime", "torch"), workloads=("inference",), repeats=3
)


def adaptive(**changes: object) -> tuple[Plan, list[Cell]]:
    plan = PLAN.with_changes(half_width=0.03, **changes)
    return plan, expand(plan)


def trials(cells: list[Cell], blocks: int, noise: float, seed: int = 0) -> list[Trial]:
    rng = np.random.default_rng(seed)
    return [
        Trial(
            cell.id, "r", "inference", block, f"l{block}", 0, (),
            tuple(np.exp(rng.normal(0, noise) + rng.normal(0, 0.001, 5))), 8, {}, "2026",
        )
        for block in range(blocks)
        for cell in cells
    ]  # fmt: skip


def test_narrow_cells_end_and_noisy_ones_go_on() -> None:
    plan, cells = adaptive()
    quiet = [cell for cell in cells if cell.engine == "torch"]
    noisy = [cell for cell in cells if cell.engine == "onnxruntime"]
    found = stops(cells, plan, trials(quiet, 4, 0.001) + trials(noisy, 4, 0.2), 10.0)
    assert set(found) == {cell.id for cell in quiet}
    (sparse,) = [cell for cell in quiet if cell.backbone == SPARSE]
    stop = found[sparse.id]
    assert (stop.why, stop.blocks, stop.asked) == ("narrow", 4, 0.03)
    assert stop.half_width is not None and stop.half_width <= 0.03


def test_three_blocks_are_the_least_and_the_plan_names_the_most() -> None:
    plan, cells = adaptive(max_repeats=6)
    assert stops(cells, plan, trials(cells, 2, 0.0001), 1.0) == {}
    found = stops(cells, plan, trials(cells, 6, 0.3), 1.0)
    assert {stop.why for stop in found.values()} == {"blocks"}
    assert most_blocks(plan) == 6
    assert most_blocks(PLAN) == 3


def test_a_time_budget_ends_every_cell_and_says_so() -> None:
    plan, cells = adaptive(budget_seconds=60.0)
    noisy = trials(cells, 3, 0.3)
    assert stops(cells, plan, noisy, 119.0) == {}
    found = stops(cells, plan, noisy, 121.0)  # two comparisons of 60 s each
    assert set(found) == {cell.id for cell in cells}
    assert {stop.why for stop in found.values()} == {"budget"}


def test_a_dense_cell_waits_for_the_last_sparse_one() -> None:
    plan = PLAN.with_changes(
        half_width=0.03, backbones=(SPARSE, "resnet18/uniform-80@generated"), engines=("torch",)
    )
    cells = expand(plan)
    dense, one, other = cells
    steady, wild = trials([dense, one], 4, 0.001), trials([other], 4, 0.3)
    assert set(stops(cells, plan, steady + wild, 1.0)) == {one.id}
    assert set(stops(cells, plan, trials(cells, 4, 0.001), 1.0)) == {c.id for c in cells}
    assert dense.id in stops(cells, plan, trials(cells, 4, 0.001), 1.0)


def test_stopping_when_narrow_keeps_the_coverage_honest() -> None:
    """Stopping looks at the width only; the interval still covers a true ratio of 1."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        pairs: list[BlockPair] = []
        while len(pairs) < 12:
            sides = np.exp(rng.normal(0, 0.02, 2))[:, None] * np.exp(rng.normal(0, 0.005, (2, 9)))
            pairs.append(BlockPair((sides[0],), (sides[1],)))
            if len(pairs) >= 3:
                ratio = estimate_ratio(pairs, resamples=50)
                if ratio.high / ratio.median - 1 <= 0.03:
                    break
        covered.append(ratio.low <= 1 <= ratio.high)
    # A width that is small by chance ends too early: 2-4 points below 95 % are known of such
    # rules (Anscombe 1953), and more would be too much.
    assert np.mean(covered) >= 0.90


@pytest.mark.parametrize("width", [-0.1, 1.0, math.inf])
def test_a_half_width_that_is_no_share_is_explained(width: float) -> None:
    with pytest.raises(SparsebenchError, match="share"):
        PLAN.with_changes(half_width=width)
