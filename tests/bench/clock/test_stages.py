from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsebench.bench.clock.stages import StageClock
from sparsebench.exporters.worker.usage import Usage


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_outside_of_stages_is_other() -> None:
    hand = Hand()
    clock = StageClock(hand)
    hand.now += 1
    with clock.stage("decode"):
        hand.now += 2
    hand.now += 4
    assert clock.stop() == 7
    assert clock.seconds == {"decode": 2, "other": 5}


def test_an_inner_stage_takes_its_time_out_of_the_outer() -> None:
    hand = Hand()
    clock = StageClock(hand)
    with clock.stage("outer"):
        hand.now += 1
        with clock.stage("inner"):
            hand.now += 10
        hand.now += 2
    assert clock.seconds == {"outer": 3, "inner": 10, "other": 0}


def test_a_stage_entered_twice_adds_up() -> None:
    hand = Hand()
    clock = StageClock(hand)
    for _ in range(3):
        with clock.stage("a"):
            hand.now += 2
    assert clock.seconds["a"] == 6


def test_a_stage_that_fails_is_charged_and_closed() -> None:
    hand = Hand()
    clock = StageClock(hand)
    with pytest.raises(ValueError, match="x"), clock.stage("a"):
        hand.now += 2
        raise ValueError("x")
    hand.now += 1
    assert clock.seconds == {"a": 2, "other": 1}


def test_nothing_is_counted_after_the_stop() -> None:
    hand = Hand()
    clock = StageClock(hand)
    hand.now += 1
    clock.stop()
    hand.now += 5
    assert clock.total == 1
    assert clock.stop() == 1
    with pytest.raises(RuntimeError, match="stopped"), clock.stage("late"):
        pass


@given(
    st.recursive(
        st.floats(0, 5),
        lambda inner: st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=4),
        max_leaves=20,
    )
)
def test_stages_sum_to_the_total_however_they_nest(tree: object) -> None:
    hand = Hand()
    clock = StageClock(hand)

    def play(node: object) -> None:
        if isinstance(node, float):
            hand.now += node
        else:
            for name, inner in node:  # type: ignore[attr-defined]
                with clock.stage(name):
                    play(inner)
                hand.now += 0.25

    play(tree)
    total = clock.stop()
    assert sum(clock.seconds.values()) == pytest.approx(total, rel=1e-9, abs=1e-9)
    assert total == pytest.approx(hand.now - 100)


def test_dealing_anew_moves_what_was_charged_since_then_and_nothing_else() -> None:
    hand = Hand()
    clock = StageClock(hand)
    for name, seconds in (("a", 1), ("b", 2), ("c", 4)):
        with clock.stage(name):
            hand.now += seconds
    before = clock.seconds
    for name, seconds in (("a", 5), ("b", 3), ("c", 6)):
        with clock.stage(name):
            hand.now += seconds
    clock.deal_anew({"a": 1.0, "b": 3.0}, before)
    assert clock.seconds == {"a": 1 + 2, "b": 2 + 6, "c": 10, "other": 0}
    clock.deal_anew({"a": 0.0, "b": 0.0}, {})
    assert clock.seconds == {"a": 1 + 2, "b": 2 + 6, "c": 10, "other": 0}
    assert sum(clock.seconds.values()) == clock.stop() == 21


@pytest.mark.alone
def test_real_stages_sum_to_the_real_wall_time() -> None:
    start = time.perf_counter()
    # Reading the usage of many threads once takes a few milliseconds before the clock starts.
    clock = StageClock(used=lambda: Usage(0.0))
    for _ in range(20):
        with clock.stage("sleep"):
            time.sleep(0.002)
        sum(range(1000))
    total = clock.stop()
    wall = time.perf_counter() - start
    assert sum(clock.seconds.values()) == pytest.approx(total, rel=1e-6)
    assert total == pytest.approx(wall, rel=0.01)
    assert clock.seconds["sleep"] >= 0.04


def test_busy_seconds_of_many_threads_lie_beside_the_stages() -> None:
    clock = StageClock()

    def work() -> None:
        for _ in range(100):
            clock.busy("decode", 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.busy_seconds == {"decode": 200.0}
    assert "decode" not in clock.seconds


def test_another_thread_cannot_enter_a_stage() -> None:
    clock = StageClock()
    caught: list[BaseException] = []

    def enter() -> None:
        try:
            with clock.stage("x"):
                pass
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_process_time_runs_beside_the_stages_and_stops_in_pauses() -> None:
    spent = iter([10.0, 12.0, 17.0, 18.0, 99.0])
    clock = StageClock(used=lambda: Usage(next(spent), {1: 0.5}))
    with clock.paused():  # from 12 to 17
        pass
    clock.stop()
    assert clock.process_seconds == 3.0
    assert clock.run_delay_seconds == 0.0
    clock.stop()
    assert clock.process_seconds == 3.0


def test_run_delay_is_unknown_once_it_could_not_be_read() -> None:
    delays = iter([{1: 0.5}, None, {1: 2.0}])
    clock = StageClock(used=lambda: Usage(1.0, next(delays)))
    with clock.paused():
        pass
    assert clock.run_delay_seconds is None
