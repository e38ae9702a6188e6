"""Drift: what the machine did while a block was measured, and when a block is thrown away.

Before and after every block two short kernels run, one that computes and one that moves memory,
and the load, the stolen and the throttled time are read. The rule is fixed in advance and looks at
these only, never at the times of the cells, so that it cannot prefer a result: a block is
discarded when

- a kernel takes over 15 % longer or shorter after the block than before it, or
- the hypervisor or the quota took more than 5 % of the CPU time that this machine has.

A block of more than five minutes is never discarded: it is noted only, because repeating it costs
more than it tells.
A discarded block stays in `trials.jsonl` with its reason and is measured again, at most as often as
the plan's ``discards`` says for all blocks of a group; what is disturbed after that is kept and
says so in `blocks.jsonl`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sparsebench.bench.machine.facts import load_now
from sparsebench.bench.records.jsonl import Line, append_line, read_lines
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError

BLOCKS = "blocks.jsonl"
KERNEL_CHANGE = 0.15
TAKEN_SHARE = 0.05
LONGEST_REPEATED_SECONDS = 300.0
_COMPUTE_BYTES = 1 << 20
_MEMORY_BYTES = 16 << 20
_TIMES = 15
log = logging.getLogger("sparsebench")


@dataclass(frozen=True)
class Sentinel:
    """The state of the machine at one moment.

    Args:
        at: monotonic clock, seconds.
        compute_seconds: median time of hashing 1 MiB (one thread, in the cache).
        memory_seconds: median time of copying 16 MiB (one thread).
        load1: see `sparsebench.bench.machine.facts.load_now`, like those after it.
        steal_seconds: all CPUs, since boot.
        throttled_seconds: since the group was made.
        mhz: mean clock.
        cpu_seconds: of all programs on the usable CPUs, since boot.
        own_seconds: of this process and its children that have ended.
    """

    at: float
    compute_seconds: float
    memory_seconds: float
    load1: float | None = None
    steal_seconds: float | None = None
    throttled_seconds: float | None = None
    mhz: float | None = None
    cpu_seconds: float | None = None
    own_seconds: float | None = None


def read_sentinel() -> Sentinel:
    """Run both kernels and read the counters; some 60 ms."""
    data = bytes(_COMPUTE_BYTES)
    source = np.ones(_MEMORY_BYTES // 8)
    target = np.empty_like(source)
    compute = _median_seconds(lambda: hashlib.sha256(data).digest())
    memory = _median_seconds(lambda: np.copyto(target, source))
    return Sentinel(time.monotonic(), compute, memory, **load_now())


def disturbance(before: Sentinel, after: Sentinel) -> str | None:
    """Why the block between two sentinels is to be discarded; None where it is not."""
    for name in ("compute_seconds", "memory_seconds"):
        change = getattr(after, name) / getattr(before, name)
        if not 1 / (1 + KERNEL_CHANGE) <= change <= 1 + KERNEL_CHANGE:
            kernel = name.removesuffix("_seconds")
            return f"the {kernel} kernel took {change:.2f} times as long after it as before"
    capacity = (after.at - before.at) * usable_cpus()
    for name, who in (("steal_seconds", "the hypervisor"), ("throttled_seconds", "the quota")):
        start, end = getattr(before, name), getattr(after, name)
        if start is not None and end is not None and end - start > TAKEN_SHARE * capacity:
            return f"{who} took {(end - start) / capacity:.0%} of the CPU time"
    return None


class Watch:
    """Watches over one launch of a block, from its making to `end`.

    Args:
        notes: of the run.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._before = read_sentinel()

    def end(self, *, block: int, launch: str, may_discard: bool) -> str | None:
        """Note what happened; why the block is discarded, or None where it is kept."""
        after = read_sentinel()
        reason = disturbance(self._before, after)
        short = after.at - self._before.at <= LONGEST_REPEATED_SECONDS
        discarded = reason is not None and may_discard and short
        if reason is not None:
            log.warning("launch %s disturbed: %s%s", launch, reason, "; discarded" * discarded)
        line = {
            "block": block,
            "launch": launch,
            "before": asdict(self._before),
            "after": asdict(after),
            "disturbed": reason,
            "discarded": discarded,
        }
        self._notes.add(line)
        return reason if discarded else None


class Notes:
    """A run's notes on its launches: ``blocks.jsonl``, read once and kept as it grows.

    Args:
        folder: of the run.

    Raises:
        SparsebenchError: the file is damaged, or a line of it is no note of a launch.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / BLOCKS
        self.of_launches = noted_blocks(folder)

    def add(self, line: dict[str, Any]) -> None:
        """Write the note of a launch that has ended."""
        append_line(self._path, line)
        self.of_launches[line["launch"]] = line


def noted_blocks(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Launch -> what was noted of it: ``before`` and ``after`` as in :class:`Sentinel`.

    Raises:
        SparsebenchError: the file is damaged, or a line of it is no note of a launch.
    """
    path = folder / BLOCKS
    return {one["launch"]: one for one in (_noted(line, path) for line in read_lines(path))}


def wall_seconds(note: Mapping[str, Any]) -> float | None:
    """Seconds of a noted launch, all of it; None where its clocks are not known."""
    before, after = note.get("before") or {}, note.get("after") or {}
    return after["at"] - before["at"] if "at" in before and "at" in after else None


def _noted(line: Line, path: Path) -> dict[str, Any]:
    """A line of ``blocks.jsonl`` whose keys are there and of their types."""
    data = {"disturbed": None, "before": {}, "after": {}} | line.data
    clocks = [data["before"], data["after"]]
    right = (
        isinstance(data.get("launch"), str)
        and isinstance(data["disturbed"], str | None)
        and all(isinstance(clock, dict) for clock in clocks)
        and all(_is_number(value) for clock in clocks for value in clock.values())
        and all(clock.get("at", 0.0) is not None for clock in clocks)
    )
    if not right:
        raise SparsebenchError(
            f"{path}, line {line.number} is no note of a launch.",
            "Restore the file, or delete that line: nothing but notes on the machine is lost.",
        )
    return data


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _median_seconds(kernel: Any) -> float:
    samples = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        kernel()
        samples.append(time.perf_counter() - start)
    return median(samples)
