"""What hits a pass is taken out of the cells' times, and ratios still multiply."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsebench.bench.comparisons import by_cell, pair_blocks, run_times
from sparsebench.bench.comparisons.alternated_visits import VISITS
from sparsebench.bench.comparisons.pass_correction import (
    common_part,
    samples_without_passes,
    trial_key,
)
from sparsebench.bench.records import Record, Trial
from sparsebench.bench.statistics import estimate_ratio
from tests.bench.synthetic import make_run

PASSES = 8
Grid = NDArray[np.float64]


def measured(times: Grid) -> tuple[list[Record], list[Trial]]:
    """A block's records and trials with given seconds a call, [cells, passes, calls]."""
    run = make_run(blocks=1)
    found = [trial for trial in run.trials if trial.workload == "inference"][: len(times)]
    trials = [
        replace(
            trial,
            launch="one",
            items=1,
            seconds=tuple(cell.ravel()),
            extra={VISITS: [cell.shape[1]] * len(cell)},
        )
        for trial, cell in zip(found, times, strict=True)
    ]
    records = {record.id: record for record in run.records}
    return [records[trial.cell] for trial in trials], trials


def ratio(times: Grid, one: int, other: int) -> float:
    records, trials = measured(times)
    cells = run_times(records, by_cell(trials))
    pairing = pair_blocks(cells[records[one].id], cells[records[other].id])
    return estimate_ratio(list(pairing.pairs.values())).median


def test_the_common_part_of_an_additive_table_is_found_exactly() -> None:
    cells, passes = np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.0, -0.2, 0.0, 0.0])
    found = common_part(np.exp(cells[:, None] + passes))
    assert found == pytest.approx(passes)


def test_bursts_that_hit_most_visits_of_one_cell_do_not_make_it_slower() -> None:
    """x1.75 in five of eight passes, and in two of them not on both: the ratio stays 4."""
    times = np.stack([np.full((PASSES, 3), 0.12), np.full((PASSES, 3), 0.03)])
    times[:, [0, 3, 4]] *= 1.75
    times[0, [1, 6]] *= 1.75
    assert np.median(times[0]) / np.median(times[1]) == pytest.approx(4 * 1.75)  # fooled
    assert ratio(times, 0, 1) == pytest.approx(4.0)
    assert ratio(times, 1, 0) == pytest.approx(0.25)


def test_two_cells_have_the_median_of_the_ratios_of_their_visits() -> None:
    times = np.random.default_rng(1).lognormal(sigma=0.3, size=(2, 7, 1))
    expected = math.exp(np.median(np.log(times[0] / times[1])))
    assert ratio(times, 0, 1) == pytest.approx(expected)


def test_ratios_of_three_cells_multiply_exactly() -> None:
    times = np.random.default_rng(2).lognormal(sigma=0.3, size=(3, PASSES, 4))
    assert ratio(times, 0, 1) * ratio(times, 1, 2) == pytest.approx(ratio(times, 0, 2))


def test_a_cell_alone_and_trials_without_visits_keep_their_samples() -> None:
    times = np.random.default_rng(3).lognormal(size=(2, PASSES, 2))
    _, trials = measured(times)
    assert not samples_without_passes(trials[:1])
    assert not samples_without_passes([replace(trial, extra={}) for trial in trials])
    failed = replace(trials[0], status="failed", reason="it broke")
    assert not samples_without_passes([failed, trials[1]])
    assert set(samples_without_passes(trials)) == {trial_key(trial) for trial in trials}


def test_a_quiet_machine_changes_next_to_nothing() -> None:
    rng = np.random.default_rng(4)
    times = np.array([0.1, 0.02])[:, None, None] * rng.lognormal(sigma=0.005, size=(2, PASSES, 5))
    raw = np.median(times[0]) / np.median(times[1])
    assert ratio(times, 0, 1) == pytest.approx(raw, rel=0.004)
