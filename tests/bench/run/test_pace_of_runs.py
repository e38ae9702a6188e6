"""Progress over whole runs: committed ones, replayed event by event without a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.records import Record, RunFolder, Trial
from sparsebench.bench.run.pace import MOST_GUESSED, Pace, Reading

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
OPENING = 20.0
"""Seconds before the first cell is measured: the run took 264 s, its trials tell of 243."""


class Event(NamedTuple):
    """What a run told its pace, `at` seconds after its start."""

    at: float
    what: str  # start, reach or end
    launch: str
    cell: str = ""
    share: float = 0.0


@cache
def recorded(name: str) -> tuple[dict[str, Record], dict[str, list[Trial]], list[Event]]:
    """Records, trials by launch, and the events of a committed run."""
    folder = RunFolder.reading(REFERENCE / name)
    launches: dict[str, list[Trial]] = {}
    for trial in sorted(folder.trials(), key=lambda trial: trial.started):
        launches.setdefault(trial.launch, []).append(trial)
    first = min(at_of(trials[0]) for trials in launches.values()) - OPENING
    events: list[Event] = []
    over = 0.0
    for launch, trials in launches.items():
        # Cells get ready one after another between the end of the last launch and the first trial.
        begins, measured = over, at_of(trials[0]) - first
        events.append(Event(begins, "start", launch))
        for number, trial in enumerate(trials, start=1):
            at = begins + (measured - begins) * number / len(trials)
            events.append(Event(at, "reach", launch, trial.cell, 0.5))
        together = [trial for trial in trials if trial.workload == "inference"]
        lasts = sum(map(seconds_of, together))
        for trial in trials:
            for part in range(1, 5) if trial in together else ():
                at = measured + lasts * part / 5
                events.append(Event(at, "reach", launch, trial.cell, 0.5 + part / 10))
            over = at_of(trial) - first + (lasts if trial in together else seconds_of(trial))
            events.append(Event(over, "reach", launch, trial.cell, 1.0))
        events.append(Event(over, "end", launch))
    return {one.id: one for one in folder.records()}, launches, sorted(events, key=lambda e: e.at)


def at_of(trial: Trial) -> float:
    return datetime.fromisoformat(trial.started).timestamp()


def seconds_of(trial: Trial) -> float:
    return sum(trial.seconds) + sum(trial.warmup)


def replay(name: str, slow: Callable[[float], float], *, forecast: bool) -> Iterator[Reading]:
    """Readings, one a second, of a run whose moments are moved by `slow`; then of its end."""
    records, launches, events = recorded(name)
    groups: dict[tuple[str, ...], list[str]] = {}  # its cells -> its launches
    for launch, trials in launches.items():
        groups.setdefault(tuple(sorted(trial.cell for trial in trials)), []).append(launch)
    key_of = {launch: key for key, mine in groups.items() for launch in mine}
    now = 0.0
    pace = Pace(
        [(key, {c: records[c].workload for c in key}, len(mine)) for key, mine in groups.items()],
        networks={cell: record.backbone.name for cell, record in records.items()},
        usual={name: workload_of(name).usual_seconds for name in ("inference", "linear-cached")},
        clock=lambda: now,
    )
    for key, mine in groups.items():
        spans = [[e.at for e in events if e.launch == launch] for launch in mine]
        mean = sum(span[-1] - span[0] for span in spans) / len(mine) / len(key)
        pace.expect(key, [mean if forecast else None] * len(key))
    for event in events:
        while now + 1 < slow(event.at):
            now += 1
            yield pace.reading()
        now = slow(event.at)
        if event.what == "start":
            pace.start(key_of[event.launch], key_of[event.launch])
        elif event.what == "reach":
            pace.reach(event.cell, event.share)
        else:
            pace.end()
    yield pace.reading()


def quiet(at: float) -> float:
    return at


def slowed(begins: float, ends: float, times: float) -> Callable[[float], float]:
    """Whatever happens between these moments takes so many times as long."""
    return lambda at: at + (times - 1) * (min(max(at, begins), ends) - begins)


NATIVE, ZEN5 = "amd-epyc-2cpu/quick-native-int8", "amd-epyc-zen5-2cpu/quick"
NEVER = 1e9


@pytest.mark.parametrize("name", [NATIVE, ZEN5])
@pytest.mark.parametrize(
    ("slow", "forecast", "bounds", "late"),
    [
        # `bounds` hold for elapsed and remaining together over the true total, wherever there is an
        # estimate; `late` in the second half. Nobody foresees that a machine becomes slow: while it
        # is quiet the estimate is of a quiet run, 0.59 of what it takes in the end.
        pytest.param(quiet, False, (0.75, 1.3), (0.8, 1.1), id="quiet"),
        pytest.param(quiet, True, (0.9, 1.1), (0.9, 1.1), id="quiet, measured before"),
        pytest.param(slowed(90, 180, 3), False, (0.45, 1.25), (0.8, 1.25), id="busy"),
        pytest.param(slowed(90, 180, 3), True, (0.5, 1.5), (0.8, 1.5), id="busy, measured before"),
        pytest.param(
            slowed(0, NEVER, 3), True, (0.3, 1.15), (0.85, 1.15), id="always slower than before"
        ),
        # Exports and kernels that were never compiled: two thirds of it is not expected again.
        pytest.param(slowed(0, OPENING, 10), False, (0.75, 4.1), (0.75, 4.1), id="slow to begin"),
    ],
)
def test_the_estimate_of_the_total_stays_within_bounds_and_the_bar_never_runs_back(
    name: str,
    slow: Callable[[float], float],
    forecast: bool,
    bounds: tuple[float, float],
    late: tuple[float, float],
) -> None:
    seen = list(replay(name, slow, forecast=forecast))
    total = seen[-1].elapsed
    assert (seen[-1].share, seen[-1].remaining) == (1.0, 0.0)  # at the end
    assert all(later.share >= earlier.share for earlier, later in pairwise(seen))
    for now in seen:
        if now.remaining is not None:
            estimate = (now.elapsed + now.remaining) / total
            low, high = late if now.elapsed > total / 2 else bounds
            assert low <= estimate <= high, (now, estimate)


@pytest.mark.parametrize("name", [NATIVE, ZEN5])
def test_the_share_is_that_of_the_time_on_a_quiet_machine(name: str) -> None:
    """Seen: "0 %, 30 s elapsed, remaining time not known yet" in a run of 7 minutes."""
    seen = list(replay(name, quiet, forecast=False))
    total = seen[-1].elapsed
    assert all(abs(now.share - now.elapsed / total) < 0.15 for now in seen)
    early = next(now for now in seen if now.elapsed >= 15)  # nothing is measured yet
    assert early.remaining is None and 0.02 <= early.share <= MOST_GUESSED
    assert early.guess is not None  # by what such cells usually take
    assert 0.5 < (early.elapsed + early.guess) / total < 2
    assert next(now for now in seen if now.remaining is not None).elapsed < 0.15 * total
