"""How many CPUs there are for this process."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity where the system knows one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_text(threads: int | str) -> str:
    """``1 thread``, ``2 threads``, ``1, 2 threads``."""
    return f"{threads} thread" if str(threads) == "1" else f"{threads} threads"
