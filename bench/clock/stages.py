"""Where the time of a trial goes: stages that partition the wall time of one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sparsebench.exporters.worker.usage import Usage, usage_now

OTHER = "other"


class StageClock:
    """Splits the wall time of the thread that made it into named stages.

    The clock runs from its creation to :meth:`stop`. Every moment belongs to exactly one
    stage: the innermost one that is open, or ``other`` outside of all. So the stages sum
    to the total exactly, nested or not.

    Work of other threads and processes overlaps with that and belongs to no partition;
    :meth:`busy` counts it beside the stages. The processor time of all threads is kept as a
    second clock, :attr:`process_seconds`, which a busy machine does not slow down.

    Args:
        now: seconds, never going back; for tests, like the next.
        used: what the process has used so far; with a worker, both together. It is asked at
            the start, around pauses and at the end.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        used: Callable[[], Usage] = usage_now,
    ) -> None:
        self._now = now
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._open: list[str] = []
        self._stopped = False
        self._used, self._used_since = used, used()
        self._process_seconds = 0.0
        self._run_delay_seconds: float | None = 0.0
        self._start = self._mark = now()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge the time inside the block to a stage; inner stages take theirs out of it.

        Raises:
            RuntimeError: called from another thread, or after :meth:`stop`.
        """
        self._charge()
        self._open.append(name)
        self._seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time inside the block out: a one-off cost that is reported apart.

        Raises:
            RuntimeError: called from another thread, or after :meth:`stop`.
        """
        self._charge()
        began = self._mark
        self._charge_process()
        try:
            yield
        finally:
            self._used_since = self._used()
            self._mark = self._now()
            self._start += self._mark - began

    def busy(self, name: str, seconds: float) -> None:
        """Count work that overlaps with the stages; from any thread."""
        with self._lock:
            self._busy[name] = self._busy.get(name, 0.0) + seconds

    def deal_anew(self, weights: Mapping[str, float], before: Mapping[str, float]) -> None:
        """Deal out what some stages were charged with since a moment again among them.

        For work that is done beside this thread, which can only tell afterwards what it waited
        for. The sum stays as it is; where all weights are 0, so does everything.

        Args:
            weights: stage -> its part, at least 0, in any unit.
            before: :attr:`seconds` at that moment.

        Raises:
            RuntimeError: called from another thread, or after :meth:`stop`.
        """
        self._charge()
        whole = sum(weights.values())
        if not whole > 0:
            return
        kept = {name: before.get(name, 0.0) for name in weights}
        shared = sum(self._seconds.get(name, 0.0) - kept[name] for name in weights)
        for name, weight in weights.items():
            self._seconds[name] = kept[name] + shared * (weight / whole)

    def stop(self) -> float:
        """Stop the clock; the total in seconds. Stopping again changes nothing."""
        if not self._stopped:
            self._charge()
            self._stopped = True
            self._charge_process()
        return self.total

    @property
    def process_seconds(self) -> float:
        """Processor time of all threads, without pauses; known when the clock is stopped."""
        return self._process_seconds

    @property
    def run_delay_seconds(self) -> float | None:
        """How long those threads waited for a processor; None where the system does not tell."""
        return self._run_delay_seconds

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage, in order of first use, ``other`` last; they sum to the total."""
        if not self._stopped:
            self._charge()
        stages = {name: value for name, value in self._seconds.items() if name != OTHER}
        return {**stages, OTHER: self._seconds.get(OTHER, 0.0)}

    @property
    def total(self) -> float:
        """Seconds from creation to :meth:`stop`, or until now."""
        if not self._stopped:
            self._charge()
        return self._mark - self._start

    @property
    def busy_seconds(self) -> dict[str, float]:
        """What :meth:`busy` counted; not a partition of anything."""
        with self._lock:
            return dict(self._busy)

    def _charge_process(self) -> None:
        now = self._used()
        process, delay = now.since(self._used_since)
        self._used_since = now
        self._process_seconds += process
        if delay is None or self._run_delay_seconds is None:
            self._run_delay_seconds = None
        else:
            self._run_delay_seconds += delay

    def _charge(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("a stage clock belongs to the thread that made it; use busy()")
        if self._stopped:
            raise RuntimeError("the clock was stopped")
        name = self._open[-1] if self._open else OTHER
        now = self._now()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._mark
        self._mark = now
