"""Accuracy against the dense baseline: change in points, relative error increase."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sparsebench.bench.statistics.intervals import Interval, mean_interval
from sparsebench.models.errors import SparsebenchError

POINTS = 100.0


def refuse_loss(points: float) -> None:
    """Refuse a limit on lost accuracy that no accuracy could break.

    Args:
        points: percentage points that may be lost.

    Raises:
        SparsebenchError: it is not from 0 to 100; NaN, which every comparison passes, is not.
    """
    if not 0 <= points <= POINTS:
        raise SparsebenchError(
            f"An accuracy loss of {points:g} points cannot be asked for.",
            "Take a number from 0 to 100, such as --max-accuracy-loss 0.5.",
        )


def accuracy_delta(sparse: Sequence[float], dense: Sequence[float]) -> Interval:
    """Change of accuracy in percentage points, paired by seed.

    Args:
        sparse: accuracies of the sparse backbone, fractions 0-1, one a seed.
        dense: the same for its dense baseline, in the same order of seeds.

    Returns:
        Mean and t-interval of (sparse - dense) * 100. The interval is about the seeds of the
        training, not about another draw of test images; for both see
        :func:`sparsebench.bench.statistics.crossed.crossed_interval`.

    Raises:
        ValueError: different numbers of seeds, or none.
    """
    if len(sparse) != len(dense):
        raise ValueError(f"{len(sparse)} seeds against {len(dense)}: nothing to pair")
    return mean_interval((np.asarray(sparse) - np.asarray(dense)) * POINTS)


def relative_error_increase(
    sparse: Sequence[float], dense: Sequence[float], change: Interval | None = None
) -> Interval | None:
    """r = ((100-S) - (100-D)) / (100-D) of the mean accuracies.

    Args:
        sparse: accuracies of the sparse backbone, fractions 0-1, one a seed.
        dense: the same for its dense baseline, in the same order of seeds.
        change: interval of the change in points; by default `accuracy_delta` of the two.

    Returns:
        r as a fraction (0.1: ten per cent more errors), with the interval of the paired
        difference over the dense mean error; None where the dense baseline makes no error.
    """
    change = change or accuracy_delta(sparse, dense)
    error = POINTS * (1 - math.fsum(dense) / len(dense))
    if error <= 0:
        return None
    return Interval(-change.mid / error, -change.high / error, -change.low / error, change.count)
