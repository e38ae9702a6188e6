"""What a process has used of the machine: processor time, waiting for a processor, memory.

Wall time says how long a call took, process time how much it computed: on a busy machine only
the first one grows. How long runnable threads waited for a processor (their run delay) says why.

Standard library only: engine workers import it under any interpreter.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SELF = Path("/proc/self")


@dataclass(frozen=True)
class Usage:
    """What this process had used at one moment.

    Attributes:
        process_seconds: user and system time of all its threads, ended ones included.
        delays: thread id -> seconds that it was runnable and waited for a processor
            (proc_pid_schedstat(5)); None where the kernel does not tell.
    """

    process_seconds: float
    delays: Mapping[int, float] | None = None

    def since(self, earlier: Usage) -> tuple[float, float | None]:
        """Process seconds and run delay (seconds, None where unknown) from `earlier` to here.

        A thread that ended in between took its delay with it: the sum is a lower bound then.
        """
        spent = self.process_seconds - earlier.process_seconds
        if self.delays is None or earlier.delays is None:
            return spent, None
        before = earlier.delays
        return spent, sum(delay - before.get(key, 0.0) for key, delay in self.delays.items())

    def __add__(self, other: Usage) -> Usage:
        """Both processes together."""
        delays = None
        if self.delays is not None and other.delays is not None:
            delays = {**self.delays, **other.delays}
        return Usage(self.process_seconds + other.process_seconds, delays)


def usage_now(process: Path = SELF) -> Usage:
    """What this process has used up to now; some 10 microseconds a thread.

    Args:
        process: its folder under /proc; for tests.
    """
    return Usage(time.process_time(), _delays(process))


def peak_resident_bytes(process: Path = SELF) -> int:
    """Largest resident set of this process so far, shared pages included (VmHWM)."""
    try:
        lines = (process / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        # macOS counts in bytes, others in KiB.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _delays(process: Path) -> dict[int, float] | None:
    found: dict[int, float] = {}
    try:
        threads = list((process / "task").iterdir())
    except OSError:
        return None
    for thread in threads:
        try:
            _, waited, _ = (thread / "schedstat").read_text().split()
        except (OSError, ValueError):  # it has just ended, or the kernel keeps no such statistics
            continue
        found[int(thread.name)] = int(waited) / 1e9
    return found or None
