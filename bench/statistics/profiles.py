"""Performance profiles: how often, over many tasks, a solver is within a factor of the best.

E. D. Dolan, J. J. Moré, Benchmarking optimization software with performance profiles,
Mathematical Programming 91 (2002). A mean over tasks hides where a method is bad; a profile shows
both who is best how often (at factor 1) and who is never far behind (where it reaches 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Profile:
    """One solver's profile, a step function.

    Args:
        name: of the solver.
        factors: float64 [n], ascending: time over the best time of the task; ``inf`` where the
            solver failed.
    """

    name: str
    factors: NDArray[np.float64]

    def within(self, factor: float) -> float:
        """Share of tasks, 0-1, on which the solver takes at most `factor` times the best."""
        return float(np.mean(self.factors <= factor * (1 + 1e-12)))


def performance_profiles(seconds: Mapping[str, Mapping[str, float | None]]) -> list[Profile]:
    """Profiles of several solvers over the same tasks.

    Args:
        seconds: solver -> task -> time; None, or a missing task, where the solver failed.

    Returns:
        One a solver, best first by the share of tasks that it wins, then by the area.

    Raises:
        ValueError: no task, or a time that is not positive.
    """
    tasks = list(dict.fromkeys(task for times in seconds.values() for task in times))
    if not tasks:
        raise ValueError("a profile needs at least one task")
    table = np.array(
        [
            [math.inf if times.get(task) is None else float(times[task] or 0) for task in tasks]
            for times in seconds.values()
        ]
    )
    if (table <= 0).any():
        raise ValueError("times must be positive")
    best = table.min(axis=0)
    if np.isinf(best).any():
        table, best = table[:, np.isfinite(best)], best[np.isfinite(best)]
    profiles = [
        Profile(name, np.sort(row / best)) for name, row in zip(seconds, table, strict=True)
    ]
    return sorted(profiles, key=lambda one: (-one.within(1.0), float(one.factors.mean())))
