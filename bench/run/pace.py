"""How far a run is and how long the rest takes: from the forecast, then from what it measured.

The unit is the second of a launch, all of it: starting workers, export, compiling, warm-up, trials.
A group of cells that was launched before takes as long again; before that its forecast counts, or
what cells took elsewhere in this run; before anything is known, the share of the launch's steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

LEAST_SHARE = 0.1
"""Of a launch: what has to be done before its time is told from its own steps."""


class Reading(NamedTuple):
    """Progress at one moment.

    Attributes:
        share: of the work that is done, 0 to 1; it never falls.
        elapsed: seconds.
        remaining: seconds; None where nothing is known yet.
        at_least: whether there may be more to do than is planned.
    """

    share: float
    elapsed: float
    remaining: float | None
    at_least: bool = False


@dataclass
class _Group:
    cells: int
    blocks: int
    forecast: float | None = None
    took: list[float] = field(default_factory=list)  # seconds a cell, of its launches

    @property
    def known(self) -> bool:
        return bool(self.took) or self.forecast is not None

    @property
    def first(self) -> float:
        """Seconds of a cell in the first launch, which also loads and exports."""
        return self.took[0] if self.took else self.forecast or 0.0

    @property
    def later(self) -> float:
        """Seconds of a cell in the others."""
        if self.took[1:]:
            return median(self.took[1:])
        return self.first if self.forecast is None else min(self.first, self.forecast)


class Pace:
    """Times the launches of a run.

    Args:
        groups: key -> number of cells and of blocks of each group, in the order of the run.
        open_end: whether groups may get more blocks than these.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        groups: Iterable[tuple[Hashable, int, int]] = (),
        *,
        open_end: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = {key: _Group(cells, blocks) for key, cells, blocks in groups}
        self._open_end = open_end
        self._clock = clock
        self._started = clock()
        self._current: Hashable | None = None
        self._since = 0.0
        self._reached: dict[str, float] = {}
        self._share = 0.0

    def expect(self, key: Hashable, seconds: float | None) -> None:
        """What one launch of a group will take, from the forecast; None where unknown."""
        group = self._groups[key]
        group.forecast = None if seconds is None else seconds / group.cells

    def start(self, key: Hashable, cells: Iterable[str]) -> None:
        """A launch of these cells of a group begins."""
        self._current = key
        self._groups[key].blocks = max(self._groups[key].blocks, 1)
        self._since = self._clock()
        self._reached = dict.fromkeys(cells, 0.0)

    def reach(self, cell: str, share: float) -> None:
        """So much of a cell's part of the launch is done."""
        if cell in self._reached:
            self._reached[cell] = max(self._reached[cell], share)

    def end(self, *, kept: bool = True) -> None:
        """The launch is over; where it is not kept, it is to be done again."""
        group = self._groups[self._current]
        group.took.append((self._clock() - self._since) / max(1, len(self._reached)))
        group.blocks -= kept
        self._current = None

    def left(self, key: Hashable, blocks: int) -> None:
        """So many blocks of a group are still to do."""
        self._groups[key].blocks = max(0, blocks)

    def reading(self) -> Reading:
        """Where the run is now."""
        now = self._clock()
        elapsed = now - self._started
        remaining = self._remaining(now)
        if remaining is None:
            share = self._by_blocks()
        else:
            share = elapsed / (elapsed + remaining) if elapsed + remaining else 0.0
        self._share = max(self._share, share)
        return Reading(self._share, elapsed, remaining, self._open_end)

    def _remaining(self, now: float) -> float | None:
        known = [group for group in self._groups.values() if group.known]
        steps = self._from_steps(now)
        if not known and steps is None:
            return None if any(group.blocks for group in self._groups.values()) else 0.0
        # Of a cell in a group that nothing is known of: what cells took in the others.
        first = median(group.first for group in known) if known else steps
        later = median(group.later for group in known) if known else steps
        assert first is not None and later is not None
        total = 0.0
        for key, group in self._groups.items():
            one = (group.first, group.later) if group.known else (first, later)
            coming = (group.later if group.took else one[0]) * group.cells
            if group.blocks:
                total += coming + (group.blocks - 1) * one[1] * group.cells
            if key == self._current:
                # What lasts longer than expected is not over before its steps are.
                total -= min(now - self._since, coming * (1 - (1 - self._launch_share()) / 8))
        return max(0.0, total)

    def _from_steps(self, now: float) -> float | None:
        """Seconds of a cell in this launch, from the share of it that is done."""
        share = self._launch_share()
        if self._current is None or share < LEAST_SHARE:
            return None
        return (now - self._since) / share / len(self._reached)

    def _launch_share(self) -> float:
        return sum(self._reached.values()) / max(1, len(self._reached))

    def _by_blocks(self) -> float:
        todo = sum(group.blocks * group.cells for group in self._groups.values())
        part = self._launch_share() * len(self._reached) if self._current is not None else 0.0
        return part / todo if todo else 0.0
