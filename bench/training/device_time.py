"""Stages of work that a device does while the host is somewhere else.

On a GPU a stage of the host is over when its work is ordered; the device does it later, and the
host's seconds go to whatever it happens to be doing when the queue is full or when it waits for
a result. So an event is put into the queue before and after every stage. Once the device has
passed them, the seconds that these stages were charged with on the host are dealt out again, in
proportion to the time that the device spent between the events of each, idle or not: idle time
belongs to the stage whose work did not come sooner. Other stages keep theirs, and the sum is what
it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from sparsebench.bench.clock.stages import StageClock


class Event(Protocol):
    """A mark in the device's queue: what this needs of ``torch.cuda.Event``."""

    def record(self) -> object:
        """Put it into the queue."""
        ...

    def synchronize(self) -> object:
        """Wait until the device has passed it."""
        ...

    def elapsed_time(self, end: Any, /) -> float:
        """Milliseconds from this event to a later one; the device has passed both."""
        ...


class DeviceStages:
    """Stages of a clock, timed where the work is done.

    Args:
        clock: gets the stages.
        event: makes a mark; None where the host does the work itself, and all is the clock's.
    """

    def __init__(self, clock: StageClock, event: Callable[[], Event] | None = None) -> None:
        self.clock, self._event = clock, event
        self._marks: list[tuple[str, Event, Event]] = []
        self._before = clock.seconds if event else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """As :meth:`bench.clock.stages.StageClock.stage`, with a mark before and after the work."""
        with self.clock.stage(name):
            if self._event is None:
                yield
                return
            begin, end = self._event(), self._event()
            begin.record()
            yield
            end.record()
        self._marks.append((name, begin, end))

    def hold_back(self, stages: int) -> None:
        """Wait for the device if it is further behind than so many stages."""
        if len(self._marks) > stages:
            self._marks[-1 - stages][2].synchronize()

    def wait(self) -> None:
        """Wait for the end of the last stage, which may have come after the last fetched loss."""
        if self._marks:
            self._marks[-1][2].synchronize()

    def settle(self) -> None:
        """Deal the host's seconds out, after a :meth:`wait`."""
        if self._event is None:
            return
        marks, self._marks = self._marks, []
        spent: dict[str, float] = {}
        for name, begin, end in marks:
            spent[name] = spent.get(name, 0.0) + begin.elapsed_time(end)
        self.clock.deal_anew(spent, self._before)
        self._before = self.clock.seconds


def gpu_event() -> Event:
    """A mark that knows its time."""
    import torch

    event: Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event
