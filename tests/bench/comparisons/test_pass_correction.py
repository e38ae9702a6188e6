"""What hits a pass is taken out of the cells' times, and ratios still multiply."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from sparsebench.bench.comparisons import by_cell, compare_run, pair_blocks, run_times
from sparsebench.bench.comparisons.pass_correction import (
    common_part,
    felt_differently,
    samples_without_passes,
    trial_key,
)
from sparsebench.bench.records import VISITS, Record, Trial
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


BURST = 0.6  # share of the passes that other programs disturb
RUNS = 200


def simulated(seed: int, blocks: int, feels: float, disturbed: float) -> list[Trial]:
    """Dense and sparse cells whose true ratio is 4; a busy pass takes 10-80 % longer.

    Process effects of 2 %, 1 % of noise a visit; the sparse cell feels a busy pass `feels` times.
    """
    rng = np.random.default_rng(seed)
    made = []
    for block in range(blocks):
        busy = rng.uniform(0.1, 0.6, PASSES) * (rng.random(PASSES) < disturbed)
        for cell, (level, slope) in enumerate(((0.12, 1.0), (0.03, feels))):
            logs = rng.normal(0, 0.02) + slope * busy + rng.normal(0, 0.01, PASSES)
            made.append(
                Trial(
                    f"cell-{cell}", "r", "inference", block, f"l{block}", cell, (),
                    tuple(level * np.exp(logs)), 1, {}, "2026", extra={VISITS: [1] * PASSES},
                )
            )  # fmt: skip
    return made


def covered(trials: list[Trial]) -> bool:
    """Whether the t-interval of the corrected block ratios holds the true one."""
    evened = samples_without_passes(trials)
    logs = {(t.cell, t.block): np.log(np.median(evened[trial_key(t)])) for t in trials}
    blocks = sorted({block for _, block in logs})
    ratios = [logs["cell-0", block] - logs["cell-1", block] for block in blocks]
    half = scipy.stats.t.ppf(0.975, len(ratios) - 1) * scipy.stats.sem(ratios)
    return bool(abs(np.mean(ratios) - math.log(4)) <= half)


@pytest.mark.parametrize("blocks", [3, 5])
@pytest.mark.parametrize("disturbed", [0.0, BURST])
def test_where_all_cells_feel_a_busy_pass_alike_the_corrected_interval_covers(
    blocks: int, disturbed: float
) -> None:
    runs = [simulated(seed, blocks, 1.0, disturbed) for seed in range(RUNS)]
    used = [trials for trials in runs if not felt_differently(trials)]
    assert len(used) >= 0.99 * RUNS
    assert np.mean([covered(trials) for trials in used]) >= 0.93


@pytest.mark.parametrize("blocks", [3, 5])
def test_where_one_cell_feels_it_more_the_correction_is_not_used(blocks: int) -> None:
    for seed in range(RUNS):
        trials = simulated(seed, blocks, 1.6, BURST)
        assert felt_differently(trials) == {"cell-0", "cell-1"}
        assert not samples_without_passes(trials)


def test_a_quiet_machine_says_nothing_of_slopes() -> None:
    """Cells of different noise, and nothing in common: their slopes are those of the noise."""
    rng = np.random.default_rng(5)
    noise = np.array([0.02, 0.002])[:, None, None]
    times = np.array([0.1, 0.02])[:, None, None] * np.exp(noise * rng.normal(size=(2, PASSES, 1)))
    assert not felt_differently(measured(times)[1])


def test_the_comparison_says_that_raw_medians_stand() -> None:
    run = make_run(blocks=3, backbones=["resnet18/dense", "resnet18/acdc-90"], engines=["torch"])
    sparse = run.record("inference", "resnet18/acdc-90", "torch").id
    rng = np.random.default_rng(6)
    busy = [np.where(rng.random(6) < BURST, 0.4, 0.0).repeat(5) for _ in range(3)]

    def disturbed(trial: Trial, slope: float) -> Trial:
        seconds = np.asarray(trial.seconds) * np.exp(slope * busy[trial.block])
        return replace(trial, seconds=tuple(seconds), extra={VISITS: [5] * 6})

    notes = {}
    for slope in (1.0, 1.6):
        trials = [
            disturbed(t, slope if t.cell == sparse else 1.0)
            for t in run.trials
            if t.workload == "inference"
        ]
        (found,) = [c for c in compare_run(run.records, trials) if c.sparse == sparse]
        notes[slope] = [note for note in found.notes if "more than others" in note]
        if slope != 1.0:
            logs = [np.log(np.median(t.seconds)) * (-1 if t.cell == sparse else 1) for t in trials]
            assert found.speedup is not None
            assert found.speedup.median == pytest.approx(math.exp(sum(logs) / 3))
    assert not notes[1.0] and len(notes[1.6]) == 1
