"""How far a run is and how long the rest takes: from the forecast, then from what it measured.

The unit is the second of a launch, all of it: starting workers, export, compiling, warm-up, trials.
A group of cells that was launched before takes as long again; before that its forecast counts, or
what cells of the same workloads took elsewhere in this run; before anything is known, the steps of
its launch.

Exporting a network, compiling the suite's kernels and installing an engine happen once. What that
took says nothing of what is still to do: of getting cells ready the median counts, of measuring
them only what was measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, median_low
from typing import NamedTuple

LEAST_SHARE = 0.1
"""Of measuring a launch: what has to be done before its time is told from its own steps."""


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
    workloads: Mapping[str, str]  # cell -> its workload
    blocks: int
    forecast: float | None = None
    weights: dict[str, float] = field(default_factory=dict)  # workload -> of a mean cell's seconds
    took: list[float] = field(default_factory=list)  # seconds a cell, of its launches
    again: float = 0.0  # seconds a cell of the first launch, without what happens once

    @property
    def cells(self) -> int:
        return len(self.workloads)

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
        again = self.again if self.took else self.first
        return again if self.forecast is None else min(again, self.forecast)

    def weigh(self, seconds: Mapping[str, float]) -> None:
        """Learn what cells of a workload take beside the others, from the seconds of cells."""
        parts: dict[str, list[float]] = {}
        for cell, one in seconds.items():
            parts.setdefault(self.workloads[cell], []).append(one)
        if mean := fmean(seconds.values()) if seconds else 0.0:
            self.weights = {name: fmean(ones) / mean for name, ones in parts.items()}

    def tell(self, cells: _Group) -> tuple[float, float]:
        """Seconds of a mean cell of another group, in its first launch and in the others."""
        weight = fmean(self.weights.get(name, 1.0) for name in cells.workloads.values())
        return self.first * weight, self.later * weight


class _Launch:
    """The steps of one launch.

    Args:
        cells: that are launched together.
        now: when it begins.
    """

    def __init__(self, cells: Iterable[str] = (), now: float = 0.0) -> None:
        self.since = self._last = now
        self.reached = dict.fromkeys(cells, 0.0)
        self.spent = dict.fromkeys(self.reached, 0.0)  # seconds of the steps that a cell reached
        self._ready: dict[str, float] = {}  # cell -> its share when it was ready
        self._took: list[float] = []  # seconds until the next cells were ready

    def reach(self, cell: str, share: float, now: float) -> None:
        """So much of a cell's part is done; what it reaches first is to be ready."""
        if cell not in self.reached or not share:
            return
        self.spent[cell] += now - self._last
        if cell not in self._ready:
            if now > self._last:  # else ready together with the one before
                self._took.append(now - self._last)
            self._ready[cell] = share
        self._last = now
        self.reached[cell] = max(self.reached[cell], share)

    @property
    def share(self) -> float:
        """Of its steps, 0 to 1."""
        return sum(self.reached.values()) / max(1, len(self.reached))

    @property
    def once(self) -> float:
        """Seconds of getting cells ready beyond what is usual for them."""
        return sum(self._took) - len(self._took) * median_low(self._took) if self._took else 0.0

    def seconds(self, now: float) -> tuple[float, float] | None:
        """Of all of this launch, and of one more; None until :data:`LEAST_SHARE` is measured."""
        # A cell that fails is ready and over at once: it tells nothing of measuring.
        measuring = {cell: at for cell, at in self._ready.items() if at < 1}
        cells = len(self.reached) - (len(self._ready) - len(measuring))
        done = sum((self.reached[cell] - at) / (1 - at) for cell, at in measuring.items())
        if not done or done / cells < LEAST_SHARE:
            return None
        usual = median_low(self._took) if self._took else 0.0
        missing = len(self.reached) / len(self._ready) - 1  # of getting ready, for each of those
        ready = sum(self._took) + len(self._took) * missing * usual
        all_of_it = ready + (now - self.since - sum(self._took)) * cells / done
        return all_of_it, all_of_it - self.once


class Pace:
    """Times the launches of a run.

    Args:
        groups: key, cell -> its workload, and number of blocks of each group, in the run's order.
        open_end: whether groups may get more blocks than these.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        groups: Iterable[tuple[Hashable, Mapping[str, str], int]] = (),
        *,
        open_end: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = {key: _Group(cells, blocks) for key, cells, blocks in groups}
        self._open_end = open_end
        self._clock = clock
        self._started = clock()
        self._current: Hashable | None = None
        self._launch = _Launch()
        self._share = 0.0

    def expect(self, key: Hashable, cells: Sequence[float | None]) -> None:
        """What one launch of a group will take, from the forecast.

        Args:
            key: of the group.
            cells: seconds of each of its cells; of one that is unknown None: it will take as long
                as the others.
        """
        group = self._groups[key]
        known = {
            cell: one for cell, one in zip(group.workloads, cells, strict=True) if one is not None
        }
        group.forecast = fmean(known.values()) if known else None
        group.weigh(known)

    def start(self, key: Hashable, cells: Iterable[str]) -> None:
        """A launch of these cells of a group begins."""
        self._current = key
        self._groups[key].blocks = max(self._groups[key].blocks, 1)
        self._launch = _Launch(cells, self._clock())

    def reach(self, cell: str, share: float) -> None:
        """So much of a cell's part of the launch is done."""
        self._launch.reach(cell, share, self._clock())

    def end(self, *, kept: bool = True) -> None:
        """The launch is over; where it is not kept, it is to be done again."""
        group = self._groups[self._current]
        took, cells = self._clock() - self._launch.since, max(1, len(self._launch.reached))
        if not group.took:
            group.again = (took - self._launch.once) / cells
        group.took.append(took / cells)
        group.weigh(self._launch.spent)
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
        told = None if self._current is None else self._launch.seconds(now)
        if not known and not told:
            return None if any(group.blocks for group in self._groups.values()) else 0.0
        total = 0.0
        for key, group in self._groups.items():
            if group.known:
                one = group.first, group.later
            elif known:  # what cells of its workloads took in the others
                firsts, laters = zip(*(other.tell(group) for other in known), strict=True)
                one = median(firsts), median(laters)
            elif told:
                cells = len(self._launch.reached)
                one = told[0] / cells, told[1] / cells
            coming = (group.later if group.took else one[0]) * group.cells
            if group.blocks:
                total += coming + (group.blocks - 1) * one[1] * group.cells
            if key == self._current:
                # What lasts longer than expected is not over before its steps are.
                total -= min(now - self._launch.since, coming * (1 - (1 - self._launch.share) / 8))
        return max(0.0, total)

    def _by_blocks(self) -> float:
        todo = sum(group.blocks * group.cells for group in self._groups.values())
        current = self._launch if self._current is not None else _Launch()
        return current.share * len(current.reached) / todo if todo else 0.0
