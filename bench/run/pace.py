"""How far a run is and how long the rest takes: from the forecast, then from what it measured.

The unit is the second of a launch, all of it: starting workers, export, compiling, warm-up, trials.
A group of cells that was launched before takes as long again; before that its forecast counts, or
what cells of the same workloads took elsewhere in this run; before anything is known, the steps of
its launch. Where other groups take longer than their forecasts, so will those that are to come.

Exporting a network, compiling the suite's kernels and installing an engine happen once. What that
took says nothing of what is still to do: of getting cells ready the median counts, of measuring
them only what was measured. Only a group with a network that the run has not had before is expected
to begin as slowly as those before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import NamedTuple

from sparsebench.bench.run.launch import Launch

MOST_GUESSED = 0.05
"""Share of a run that may be shown before anything is known: seconds then count by a guess."""
LEAST_SLOWER = 1.5
"""Times a forecast: below, a launch differs from it as launches do."""
_QUALIFIES = 0.5  # of the cells that must qualify for their blocks


class Reading(NamedTuple):
    """Progress at one moment.

    Attributes:
        share: of the work that is done, 0 to 1; it never falls.
        elapsed: seconds.
        remaining: seconds; None where nothing is known yet.
        at_least: whether there may be more to do than is planned.
        guess: seconds, by what such cells usually take, while nothing is known.
    """

    share: float
    elapsed: float
    remaining: float | None
    at_least: bool = False
    guess: float | None = None


@dataclass
class _Group:
    workloads: Mapping[str, str]  # cell -> its workload
    blocks: int
    forecast: float | None = None
    perhaps: frozenset[str] = frozenset()  # cells that a qualifying heat may leave out
    networks: frozenset[Hashable] = frozenset()
    new: bool = False  # whether its first launch held networks that the run had not had before
    weights: dict[str, float] = field(default_factory=dict)  # workload -> of a mean cell's seconds
    took: list[float] = field(default_factory=list)  # seconds a cell, of its launches
    again: float = 0.0  # seconds a cell of the first launch, without what happens once

    @property
    def cells(self) -> float:
        """How many are expected to be measured."""
        return len(self.workloads) - (1 - _QUALIFIES) * len(self.perhaps & set(self.workloads))

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
            if cell in self.workloads:
                parts.setdefault(self.workloads[cell], []).append(one)
        if mean := fmean(seconds.values()) if seconds else 0.0:
            self.weights = {name: fmean(ones) / mean for name, ones in parts.items()}

    def tell(self, cells: _Group) -> tuple[float, float]:
        """Seconds of a mean cell of another group, in its first launch and in the others."""
        if not cells.workloads:  # all of them are over
            return 0.0, 0.0
        weight = fmean(self.weights.get(name, 1.0) for name in cells.workloads.values())
        return self.first * weight, self.later * weight


class Pace:
    """Times the launches of a run.

    Args:
        groups: key, cell -> its workload, and number of blocks of each group, in the run's order.
        open_end: whether groups may get more blocks than these.
        perhaps: cells that may not qualify for their blocks.
        networks: cell -> what has to be exported for it, which cells may share.
        usual: workload -> seconds of a cell in a launch; a guess that the first launch replaces.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        groups: Iterable[tuple[Hashable, Mapping[str, str], int]] = (),
        *,
        open_end: bool = False,
        perhaps: Iterable[str] = (),
        networks: Mapping[str, Hashable] | None = None,
        usual: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._usual = usual or {}
        self._groups = {
            key: _Group(
                cells,
                blocks,
                perhaps=frozenset(perhaps) & set(cells),
                # A cell that nothing is said of has a network of its own.
                networks=frozenset((networks or {}).get(cell, cell) for cell in cells),
            )
            for key, cells, blocks in groups
        }
        self._had: set[Hashable] = set()  # networks of the launches that are over
        self._open_end = open_end
        self._clock = clock
        self._started = clock()
        self._current: Hashable | None = None
        self._launch = Launch()
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
        self._current, group = key, self._groups[key]
        group.blocks = max(group.blocks, 1)
        seconds = {cell: self._usual.get(name, 1.0) for cell, name in group.workloads.items()}
        # A forecast knows already what happens in each launch.
        new = not group.took and not group.networks <= self._had and group.forecast is None
        self._launch = Launch(cells, self._clock(), seconds, new)

    def reach(self, cell: str, share: float) -> None:
        """So much of a cell's part of the launch is done."""
        self._launch.reach(cell, share, self._clock())

    def end(self, *, kept: bool = True) -> None:
        """The launch is over; where it is not kept, it is to be done again."""
        group = self._groups[self._current]
        took, cells = self._clock() - self._launch.since, max(1, len(self._launch.reached))
        if not group.took:
            group.new = not group.networks <= self._had
            self._had |= group.networks
            group.again = (took - self._launch.once) / cells
        group.took.append(took / cells)
        group.weigh(self._launch.spent)
        group.blocks -= kept
        self._current = None

    def left(self, key: Hashable, blocks: int, over: Container[str] = ()) -> None:
        """So many blocks of a group are still to do, without the cells that are over.

        Who has not qualified is known by then.
        """
        group = self._groups[key]
        group.blocks, group.perhaps = max(0, blocks), frozenset()
        group.workloads = {c: name for c, name in group.workloads.items() if c not in over}

    def reading(self) -> Reading:
        """Where the run is now."""
        now = self._clock()
        elapsed = now - self._started
        remaining, guess = self._remaining(now), None
        if remaining is None:
            share = self._guess(elapsed)
            coming = self._usually() - elapsed
            # A guess that is nearly used up was wrong.
            guess = coming if coming > elapsed / 4 else None
        else:
            share = elapsed / (elapsed + remaining) if elapsed + remaining else 0.0
        self._share = max(self._share, share)
        return Reading(self._share, elapsed, remaining, self._open_end, guess)

    def _remaining(self, now: float) -> float | None:
        known = [group for group in self._groups.values() if group.known]
        told = None if self._current is None else self._launch.seconds(now)
        if not known and not told:
            to_do = any(group.blocks for group in self._groups.values())
            return None if to_do or not self._groups else 0.0
        total, slower = 0.0, self._slower()
        for key, group in self._groups.items():
            if group.took:
                one = group.later, group.later
            elif group.known:
                one = group.first * slower, group.later * slower
            elif known:  # what cells of its workloads took in the others
                one = self._as_others(group, known, slower)
            elif told:
                cells = len(self._launch.reached)
                one = told[0] / cells, told[1] / cells
            coming = one[0] * group.cells
            if group.blocks:
                total += coming + (group.blocks - 1) * one[1] * group.cells
            if key == self._current:
                # What lasts longer than expected is not over before its steps are: they take an
                # eighth of what was expected of all, or as long as it is late, the longer of both.
                since, open_steps = now - self._launch.since, 1 - self._launch.share
                late = max(coming / 8, since - coming)
                total -= min(since, coming - open_steps * late)
        return max(0.0, total)

    def _as_others(
        self, group: _Group, known: Sequence[_Group], slower: float
    ) -> tuple[float, float]:
        """Seconds of a mean cell of a group that nothing is known of, in both kinds of launches."""
        told = []
        for other in known:
            first, later = other.tell(group)
            by = 1.0 if other.took else slower
            told.append((first * by, later * by, other.new or not other.took))
        later = median(one[1] for one in told)
        # What is exported already is not exported again; only launches that did tell what it takes.
        exported = [one[0] for one in told if one[2]]
        first = later if group.networks <= self._had or not exported else median(exported)
        return first, later

    def _slower(self) -> float:
        """How much longer launches take than was foreseen: those of the last group that tells."""
        for group in reversed(self._groups.values()):
            if group.took[1:] and group.forecast:
                slower = group.later / group.forecast
                return min(slower, 3.0) if slower > LEAST_SLOWER else 1.0
        return 1.0

    def _guess(self, elapsed: float) -> float:
        """The share where nothing is known: by the steps, or by the usual seconds."""
        todo = sum(group.blocks * group.cells for group in self._groups.values())
        if not todo:
            return 0.0
        current = self._launch if self._current is not None else Launch()
        by_steps = current.share * len(current.reached) / todo
        seconds = self._usually()
        by_time = elapsed / (elapsed + seconds) if seconds else 0.0
        return max(by_steps, min(MOST_GUESSED, by_time))

    def _usually(self) -> float:
        """Seconds of all that is planned, by the guess."""
        return sum(
            group.blocks * self._usual.get(name, 0.0)
            for group in self._groups.values()
            for name in group.workloads.values()
        )
