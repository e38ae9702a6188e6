"""How far a run is: the rest is told from the forecast, then from what was measured."""

from __future__ import annotations

from itertools import pairwise
from string import ascii_lowercase

import pytest

from sparsebench.bench.run.pace import Pace, Reading


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pace(*groups: tuple[int, int], open_end: bool = False) -> tuple[Pace, Clock]:
    """Groups of so many cells and blocks; their keys are 0, 1, …"""
    clock = Clock()
    keyed = [
        (i, dict.fromkeys(ascii_lowercase[:cells], "inference"), blocks)
        for i, (cells, blocks) in enumerate(groups)
    ]
    return Pace(keyed, open_end=open_end, clock=clock), clock


def launch(
    run: Pace, clock: Clock, key: object, seconds: float, kept: bool = True
) -> list[Reading]:
    """One launch of two cells: what is read at its start, when compiled, warm, and over."""
    seen = []
    run.start(key, ["a", "b"])
    for share in (0.0, 0.2, 0.4, 1.0):
        clock.now += seconds / 4
        run.reach("a", share)
        run.reach("b", share)
        seen.append(run.reading())
    run.end(kept=kept)
    return [*seen, run.reading()]


def test_the_forecast_tells_the_remaining_time_before_anything_ran() -> None:
    run, clock = pace((2, 3))
    run.expect(0, [10.0, 10.0])
    assert run.reading() == Reading(0.0, 0.0, 60.0)
    run.start(0, ["a", "b"])
    clock.now += 15
    assert run.reading() == Reading(0.25, 15.0, 45.0)


def test_a_group_whose_cells_are_all_left_out_takes_no_time() -> None:
    run, _ = pace((2, 1), (2, 1))
    run.expect(0, [10.0, 10.0])
    run.left(1, 0, {"a", "b"})
    assert run.reading().remaining == 20.0


def test_what_was_measured_takes_the_place_of_the_forecast() -> None:
    run, clock = pace((2, 3))
    run.expect(0, [10.0, 10.0])
    # The first launch exports too: the others are still foreseen as before it.
    assert launch(run, clock, 0, 40.0)[-1].remaining == pytest.approx(40)
    assert launch(run, clock, 0, 30.0)[-1].remaining == pytest.approx(30)
    assert launch(run, clock, 0, 30.0)[-1] == Reading(1.0, 100.0, 0.0)


def test_without_a_forecast_compiling_and_warming_up_are_work_done() -> None:
    run, clock = pace((2, 2))
    assert run.reading().remaining is None
    start, compiled, warm, over, _ = launch(run, clock, 0, 40.0)
    assert start.remaining is None and start.share == 0.0
    # Getting ready, 20 s, says nothing of measuring; a quarter of that took 10 s: 20 + 40 s. Two
    # thirds of getting ready for the first time happen once.
    assert compiled.remaining is None and compiled.share == pytest.approx(0.1)
    assert warm.remaining == pytest.approx(30 + 20 / 3 + 40) and warm.share > compiled.share
    assert over.remaining == pytest.approx(20 / 3 + 20)


def test_what_happens_once_is_no_measure_of_the_rest() -> None:
    """Seen: "3 %, 3.5 min elapsed, about 98.7 min remaining" while the kernels were compiled."""
    run, clock = pace((5, 3))
    run.start(0, "abcde")
    clock.now += 210  # the first cell: a library is compiled, a network exported
    run.reach("a", 0.5)
    assert run.reading().remaining is None
    for cell in "bcde":
        clock.now += 3
        run.reach(cell, 0.5)
        assert run.reading().remaining is None
    clock.now += 10
    for cell in "abcde":
        run.reach(cell, 0.6)  # a fifth of what is measured
    # 40 s of this launch, and two of 5 x 3 s and 50 s.
    assert run.reading().remaining == pytest.approx(40 + 2 * 65)
    clock.now += 40
    for cell in "abcde":
        run.reach(cell, 1.0)
    run.end()
    assert run.reading().remaining == pytest.approx(2 * 65)


def test_a_cell_that_fails_at_once_tells_nothing_of_the_others() -> None:
    run, clock = pace((3, 1))
    run.start(0, "abc")
    clock.now += 2
    run.reach("a", 1.0)
    assert run.reading().remaining is None
    for cell in "bc":
        clock.now += 4
        run.reach(cell, 0.5)
    clock.now += 10
    run.reach("b", 1.0)
    assert run.reading().remaining == pytest.approx(10)


def test_a_cell_that_nothing_is_known_of_takes_as_long_as_those_beside_it() -> None:
    """Seen: one new cell, and the forecast of all the others was not used."""
    run, _ = pace((3, 2))
    run.expect(0, [10.0, None, 20.0])
    assert run.reading().remaining == pytest.approx(2 * 3 * 15)


def test_a_discarded_block_is_to_do_again_and_the_share_does_not_fall() -> None:
    run, clock = pace((2, 2))
    shares = [one.share for one in launch(run, clock, 0, 40.0)]
    thrown = launch(run, clock, 0, 40.0, kept=False)
    assert thrown[-1].remaining == pytest.approx(40)
    shares += [one.share for one in (*thrown, *launch(run, clock, 0, 40.0))]
    assert all(later >= earlier for earlier, later in pairwise(shares))
    assert shares[-1] == 1.0


def test_what_lasts_longer_than_expected_does_not_read_zero_before_it_is_over() -> None:
    run, clock = pace((2, 1))
    run.expect(0, [10.0, 10.0])
    run.start(0, ["a", "b"])
    clock.now += 300
    run.reach("a", 1.0)
    left = run.reading().remaining
    assert left is not None and left > 0


def test_the_later_a_launch_is_the_more_its_open_steps_take() -> None:
    """It told "about 3 s remaining" for eight minutes, when others had come onto the machine."""
    run, clock = pace((2, 1))
    run.expect(0, [10.0, 10.0])
    run.start(0, ["a", "b"])
    left = []
    for seconds in (10, 40, 200):
        clock.now = 1000.0 + seconds
        run.reach("a", 1.0)
        left.append(run.reading().remaining)
    assert left == [10.0, (40 - 20) / 2, (200 - 20) / 2]  # half of its steps are open


def test_a_group_that_nothing_is_known_of_takes_as_long_a_cell_as_the_others() -> None:
    run, _ = pace((2, 3), (4, 1))
    run.expect(0, [10.0, 10.0])
    run.expect(1, [None] * 4)
    assert run.reading().remaining == pytest.approx(60 + 40)


def test_a_group_that_begins_loads_and_exports_as_the_first_one_did() -> None:
    """Seen: 86 % and 30 s remaining, where the next group's first launch took 88 s."""
    clock = Clock()
    groups = [(i, dict.fromkeys(cells, "inference"), 2) for i, cells in enumerate(("ab", "cd"))]
    run = Pace(groups, clock=clock)
    launch(run, clock, 0, 140.0)
    assert launch(run, clock, 0, 14.0)[-1].remaining == pytest.approx(140 + 14)
    # Its own first steps tell less than what the other group took.
    run.start(1, ["c", "d"])
    clock.now += 60
    run.reach("c", 0.5)
    assert run.reading().remaining == pytest.approx(140 - 60 + 14)


@pytest.mark.parametrize("forecast", [False, True])
def test_a_group_that_nothing_is_known_of_takes_what_its_workloads_took(forecast: bool) -> None:
    """Seen: engines of inference alone foreseen with the time of linear fine-tuning."""
    clock = Clock()
    both = {"a": "inference", "b": "inference", "c": "linear-cached", "d": "linear-cached"}
    groups = [(0, both, 2), (1, {"e": "inference", "f": "inference"}, 2)]
    run = Pace(groups, clock=clock)
    if forecast:
        run.expect(0, [2.0, 2.0, 18.0, 18.0])
        assert run.reading().remaining == pytest.approx(2 * 40 + 2 * 4)
        return
    run.start(0, both)
    for share, took in ((0.2, (1, 1, 1, 1)), (1.0, (1, 1, 17, 17))):
        for cell, seconds in zip(both, took, strict=True):
            clock.now += seconds
            run.reach(cell, share)
    run.end()
    # Of 4 s of getting ready two thirds happen once. Two launches of the second group: cells of
    # inference took 2 s each, and their share of what comes again.
    again = 40 - 4 * 2 / 3
    assert run.reading().remaining == pytest.approx(again + 4 + 4 / 40 * again)


def test_blocks_of_a_resumed_run_that_are_there_already_are_not_to_do() -> None:
    run, _ = pace((2, 3))
    run.expect(0, [10.0, 10.0])
    run.left(0, 1)
    assert run.reading() == Reading(0.0, 0.0, 20.0)


def test_a_run_until_its_intervals_are_narrow_says_at_least() -> None:
    run, clock = pace((2, 1), open_end=True)
    launch(run, clock, 0, 10.0)
    run.start(0, ["a", "b"])  # a block more than planned
    now = run.reading()
    assert now.at_least and now.remaining == pytest.approx(5 / 3 + 5)


def test_what_is_exported_already_is_not_expected_again() -> None:
    """Seen: 10 minutes foreseen for a run of 7, since each engine was to export all networks."""
    clock = Clock()
    groups = [(0, dict.fromkeys("ab", "inference"), 1), (1, dict.fromkeys("cd", "inference"), 1)]
    run = Pace(groups, networks={"a": "x", "b": "y", "c": "x", "d": "y"}, clock=clock)
    launch(run, clock, 0, 60.0)  # half of it getting ready
    assert run.reading().remaining == pytest.approx(10 + 30)


def test_rivals_that_may_not_qualify_count_half_and_who_is_out_no_more() -> None:
    """Seen: 6.7 minutes remaining, and after a qualifying heat 4.0."""
    clock = Clock()
    groups = [(0, dict.fromkeys("abcd", "inference"), 3)]
    run = Pace(groups, perhaps={"c", "d"}, clock=clock)
    run.expect(0, [10.0] * 4)
    assert run.reading().remaining == pytest.approx(3 * 3 * 10)
    run.left(0, 3, {"d"})
    assert run.reading().remaining == pytest.approx(3 * 3 * 10)


def test_a_machine_that_is_slower_than_before_is_so_for_what_is_to_come() -> None:
    """Seen: 42 minutes foreseen, and 88 when half of them were over."""
    clock = Clock()
    run = Pace([(k, dict.fromkeys(k, "inference"), 2) for k in ("ab", "cd")], clock=clock)
    for key in ("ab", "cd"):
        run.expect(key, [10.0, 10.0])
    launch(run, clock, "ab", 40.0)
    launch(run, clock, "ab", 40.0)
    assert run.reading().remaining == pytest.approx(2 * 2 * 20)
