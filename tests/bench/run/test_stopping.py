"""Adaptive stopping: narrow enough, out of time, or all blocks; and honest intervals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Trial
from sparsebench.bench.run.stopping import most_blocks, stops
from sparsebench.bench.statistics.sequential import CONFIDENCE, LEAST_BLOCKS
from sparsebench.models.errors import SparsebenchError
from tests.bench.synthetic import make_run

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
    found = stops(cells, plan, trials(quiet, 9, 0.001) + trials(noisy, 9, 0.2), 10.0)
    assert set(found) == {cell.id for cell in quiet}
    (sparse,) = [cell for cell in quiet if cell.backbone == SPARSE]
    stop = found[sparse.id]
    assert (stop.why, stop.blocks, stop.asked) == ("narrow", 9, 0.03)
    assert stop.half_width is not None and stop.half_width <= 0.03


def test_eight_blocks_are_the_least_and_the_plan_names_the_most() -> None:
    plan, cells = adaptive(max_repeats=10)
    assert stops(cells, plan, trials(cells, LEAST_BLOCKS - 1, 0.0001), 1.0) == {}
    assert {s.why for s in stops(cells, plan, trials(cells, 8, 0.0001), 1.0).values()} == {"narrow"}
    assert stops(cells, plan, trials(cells, 9, 0.3), 1.0) == {}
    assert {s.why for s in stops(cells, plan, trials(cells, 10, 0.3), 1.0).values()} == {"blocks"}
    assert most_blocks(plan) == 10
    assert most_blocks(PLAN) == 3


def test_a_plan_that_allows_fewer_blocks_measures_all_of_them() -> None:
    plan, cells = adaptive(max_repeats=6)
    assert stops(cells, plan, trials(cells, 5, 0.0001), 1.0) == {}
    found = stops(cells, plan, trials(cells, 6, 0.0001), 1.0)
    assert set(found) == {cell.id for cell in cells}
    assert {stop.why for stop in found.values()} == {"blocks"}


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
    steady, wild = trials([dense, one], 8, 0.001), trials([other], 8, 0.3)
    assert set(stops(cells, plan, steady + wild, 1.0)) == {one.id}
    assert set(stops(cells, plan, trials(cells, 8, 0.001), 1.0)) == {c.id for c in cells}
    assert dense.id in stops(cells, plan, trials(cells, 8, 0.001), 1.0)


RUNS, MOST = 20_000, 30


@pytest.mark.parametrize("asked", [0.35, 0.4, 0.45, 0.5, 0.6, 0.75, 1.0, 1.5])
def test_intervals_of_cells_that_stopped_when_narrow_cover_the_truth(asked: float) -> None:
    """94-96 %, however the asked width (in standard deviations of a block) falls.

    The rule written down once more with arrays and SciPy's own t-distribution.
    """
    draws = np.random.default_rng(0).normal(size=(RUNS, MOST))
    count = np.arange(1, MOST + 1)
    mean = draws.cumsum(axis=1) / count
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.clip((draws**2).cumsum(axis=1) / count - mean**2, 0, None))
        error = spread / np.sqrt(count - 1)
        half = scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1) * error
    stops_at = (half <= asked) & (count >= LEAST_BLOCKS)
    stops_at[:, -1] = True
    chosen = np.arange(RUNS), stops_at.argmax(axis=1)
    assert 0.94 <= np.mean(np.abs(mean[chosen]) <= half[chosen]) <= 0.96


def test_the_rule_is_that_of_the_simulation_and_the_table_shows_its_interval() -> None:
    plan, cells = adaptive(max_repeats=20)
    chosen = [cell for cell in cells if cell.engine == "torch"]
    dense, sparse = sorted(chosen, key=lambda cell: cell.backbone == SPARSE)
    made = trials(chosen, 20, 0.04, seed=5)
    logs = {
        cell.id: np.array([np.log(np.median(t.seconds)) for t in made if t.cell == cell.id])
        for cell in chosen
    }
    ratios = logs[dense.id] - logs[sparse.id]
    expected = next(
        n
        for n in range(LEAST_BLOCKS, 21)
        if np.expm1(scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * scipy.stats.sem(ratios[:n]))
        <= plan.half_width
        or n == 20
    )
    ends = [
        n
        for n in range(1, 21)
        if sparse.id in stops(chosen, plan, [t for t in made if t.block < n], 1.0)
    ]
    assert LEAST_BLOCKS < expected < 20 and ends[0] == expected


def test_a_cell_that_stopped_has_the_wider_interval_in_its_comparison() -> None:
    run = make_run(backbones=["resnet18/dense", "resnet18/acdc-90"], engines=["torch"], blocks=8)
    plain = compare_run(run.records, run.trials)
    records = [replace(record, extra={"stopped": {"why": "narrow"}}) for record in run.records]
    for before, after in zip(plain, compare_run(records, run.trials), strict=True):
        assert before.speedup and after.speedup and before.speedup.ci95 and after.speedup.ci95
        widths = [np.log(high / low) for low, high in (before.speedup.ci95, after.speedup.ci95)]
        quantiles = scipy.stats.t.ppf([0.975, 0.5 + CONFIDENCE / 2], 7)
        assert widths[1] / widths[0] == pytest.approx(quantiles[1] / quantiles[0])
        assert after.speedup.median == before.speedup.median


@pytest.mark.parametrize("width", [-0.1, 1.0, math.inf])
def test_a_half_width_that_is_no_share_is_explained(width: float) -> None:
    with pytest.raises(SparsebenchError, match="share"):
        PLAN.with_changes(half_width=width)
