from __future__ import annotations

import pytest

from sparsebench.models.sparsify.gmp import prunings
from sparsebench.models.sparsify.schedule import cubic_sparsity, hold_then_decay, one_cycle


def test_cubic_schedule_gives_the_sparsities_that_woodfisher_lists_for_90_percent() -> None:
    # Singh & Alistarh 2020: pruned at epochs 1, 6, ..., 36, schedule from epoch 1 to 40.
    got = [cubic_sparsity(epoch, 1, 40, 0.05, 0.9) for epoch in range(1, 40, 5)]
    assert got == pytest.approx([0.05, 0.337, 0.551, 0.702, 0.802, 0.861, 0.890, 0.899], abs=6e-4)


def test_cubic_schedule_is_clamped_outside_its_interval() -> None:
    assert cubic_sparsity(-5, 0, 10, 0.05, 0.9) == pytest.approx(0.05)
    assert cubic_sparsity(99, 0, 10, 0.05, 0.9) == 0.9
    assert cubic_sparsity(3, 3, 3, 0.05, 0.9) == 0.9


def test_cubic_schedule_has_seven_eighths_of_the_way_behind_it_at_half_time() -> None:
    assert cubic_sparsity(5, 0, 10, 0.0, 0.8) == pytest.approx(0.8 * 7 / 8)


def test_one_cycle_rises_to_one_and_ends_at_zero() -> None:
    assert [one_cycle(p, 0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0.0, 0.5, 1.0, 0.5, 0.0]
    )


def test_held_rate_falls_only_after_the_hold() -> None:
    got = [hold_then_decay(p, hold=0.4, warmup=0.1) for p in (0.05, 0.1, 0.4, 0.7, 1.0)]
    assert got == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1950])
def test_gmp_reaches_the_final_sparsity_within_the_training(steps: int) -> None:
    table = prunings(steps, 0.9)
    values = list(table.values())
    assert all(0 <= t < steps for t in table)
    assert values == sorted(values)
    assert values[-1] == 0.9


def test_gmp_prunes_in_the_first_forty_percent_from_five_percent_on() -> None:
    table = prunings(1000, 0.9)
    assert len(table) == 21
    assert (min(table), max(table)) == (10, 400)
    assert table[10] == pytest.approx(0.05)
    # t = 205 is half of the way from 10 to 400.
    assert table[205] == pytest.approx(0.9 - 0.85 / 8)
