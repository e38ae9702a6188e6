"""Amdahl's bound from a breakdown into stages."""

from __future__ import annotations

import math
from collections.abc import Mapping


def stage_fraction(stages: Mapping[str, float], stage: str) -> float | None:
    """Share of one stage in the total of all stages; None where it is not among them.

    Args:
        stages: stage name -> seconds; they partition the trial.
        stage: the one asked for.
    """
    total = math.fsum(stages.values())
    if stage not in stages or total <= 0:
        return None
    return stages[stage] / total


def amdahl_bound(fraction: float, speedup: float) -> float:
    """Speed-up of the whole when a part of it becomes faster: 1 / ((1 - p) + p / s).

    Args:
        fraction: p, the part's share of the time before, 0-1.
        speedup: s, how much faster the part becomes, above 0; ``inf`` gives the limit 1/(1-p).

    Raises:
        ValueError: an argument out of range.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"a fraction lies in 0-1, not at {fraction}")
    if not speedup > 0:
        raise ValueError(f"a speed-up is positive, not {speedup}")
    rest = (1 - fraction) + fraction / speedup
    return math.inf if rest == 0 else 1 / rest
