"""Stages of a device: dealt out by its own time, and the sum is the host's."""

from __future__ import annotations

import pytest

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.training.device_time import DeviceStages


class Machine:
    """A host's clock in seconds, and a queue whose time is told in advance in milliseconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = iter(range(0))
        self.waited_for: list[Mark] = []

    def __call__(self) -> float:
        return self.now

    def event(self) -> Mark:
        return Mark(self)


class Mark:
    """An event: the queue's time when it was recorded."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.at = machine, -1

    def record(self) -> None:
        self.at = next(self.machine.queue)

    def synchronize(self) -> None:
        self.machine.waited_for.append(self)

    def elapsed_time(self, end: Mark) -> float:
        return float(end.at - self.at)


def test_seconds_go_where_the_device_spent_them() -> None:
    """Ordered in 1 s each, worked on for 3, 5 and 2 s; the host then waits for 7 s more."""
    machine = Machine()
    clock = StageClock(machine)
    stages = DeviceStages(clock, machine.event)
    machine.queue = iter([0, 3000, 3000, 8000, 8000, 10000])
    for name in ("forward", "backward", "optimizer"):
        with stages.stage(name):
            machine.now += 1
    with clock.stage("backward"):
        machine.now += 7  # the fetch
    with clock.stage("evaluate"):
        machine.now += 4
    stages.settle()
    clock.stop()
    expected = {"forward": 3, "backward": 5, "optimizer": 2, "evaluate": 4, "other": 0}
    assert clock.seconds == pytest.approx(expected)
    assert sum(clock.seconds.values()) == pytest.approx(clock.total, rel=1e-12)


def test_what_was_dealt_out_once_stays() -> None:
    machine = Machine()
    clock = StageClock(machine)
    stages = DeviceStages(clock, machine.event)
    for queue in ([0, 1, 1, 4], [10, 13, 13, 14]):
        machine.queue = iter(queue)
        for name in ("forward", "backward"):
            with stages.stage(name):
                machine.now += 2
        stages.settle()
    assert clock.seconds == pytest.approx({"forward": 1 + 3, "backward": 3 + 1, "other": 0})


def test_without_a_device_the_clock_alone_counts() -> None:
    machine = Machine()
    clock = StageClock(machine)
    stages = DeviceStages(clock)
    with stages.stage("forward"):
        machine.now += 2
    stages.settle()
    assert clock.seconds == {"forward": 2, "other": 0}


def test_a_device_that_did_nothing_changes_nothing() -> None:
    machine = Machine()
    clock = StageClock(machine)
    stages = DeviceStages(clock, machine.event)
    machine.queue = iter([5, 5])
    with stages.stage("forward"):
        machine.now += 2
    stages.settle()
    assert clock.seconds == {"forward": 2, "other": 0}


def test_the_host_waits_for_the_end_of_the_last_stage() -> None:
    machine = Machine()
    stages = DeviceStages(StageClock(machine), machine.event)
    stages.wait()  # for nothing
    machine.queue = iter([0, 1, 1, 2])
    for name in ("forward", "backward"):
        with stages.stage(name):
            pass
    stages.wait()
    assert [mark.at for mark in machine.waited_for] == [2]


def test_the_host_is_held_back_when_the_device_is_too_far_behind() -> None:
    machine = Machine()
    stages = DeviceStages(StageClock(machine), machine.event)
    machine.queue = iter(range(8))
    for expected in ([], [], [1], [1, 3]):
        with stages.stage("forward"):
            pass
        stages.hold_back(2)
        assert [mark.at for mark in machine.waited_for] == expected
