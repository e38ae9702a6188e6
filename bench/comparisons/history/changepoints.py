"""Change points of a series of ratios.

PELT (Killick, Fearnhead, Eckley, JASA 107, 2012), least squares on the logarithms, finds where the
level may have moved. Its penalty needs the noise of a run, which is taken from the differences of
neighbours (a change of level spoils one of them only). Every candidate then has to pass what any
change has to pass in this suite: Welch's test on both sides, Holm over the candidates, and the
smallest effect of interest. Both are written out here, because `ruptures` and `scipy.stats` take
longer to import than two hundred runs to read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsebench.bench.comparisons.history.series import Series
from sparsebench.bench.statistics import FAMILY_ERROR, SMALLEST_EFFECT_OF_INTEREST, holm

LEAST_RUNS = 6
LEAST_SEGMENT = 3
# sigma of normal noise over the median absolute difference of neighbours
_MAD_OF_DIFFERENCES = 0.6745 * math.sqrt(2)


@dataclass(frozen=True)
class ChangePoint:
    """A lasting change of one series.

    Args:
        name: the cell in words.
        kind: "speedup" or "engines".
        run: the first run of the new level.
        created: when it was measured.
        before: geometric mean of the segment before.
        after: geometric mean of the segment after.
        p: of no change, adjusted for all candidates.
        versions: of the engine before and after, where they differ.
    """

    name: str
    kind: str
    run: str
    created: str
    before: float
    after: float
    p: float
    versions: tuple[str | None, str | None] | None

    @property
    def change(self) -> float:
        """Relative change, -0.1 for 10 % less."""
        return self.after / self.before - 1


def change_points(
    series: Sequence[Series], effect: float = SMALLEST_EFFECT_OF_INTEREST
) -> list[ChangePoint]:
    """Lasting changes of all series, oldest first.

    Args:
        series: of one machine; those of fewer than 6 runs are left alone.
        effect: smallest relative change that counts, fraction.
    """
    found: list[ChangePoint] = []
    for one in series:
        found += _candidates(one)
    adjusted = holm([point.p for point in found])
    kept = [
        ChangePoint(**{**vars(point), "p": p})
        for point, p in zip(found, adjusted, strict=True)
        if p < FAMILY_ERROR and abs(math.log(point.after / point.before)) >= math.log1p(effect)
    ]
    return sorted(kept, key=lambda point: (point.created, point.name))


def _candidates(series: Series) -> list[ChangePoint]:
    logs = np.log(np.array(series.ratios))
    if logs.size < LEAST_RUNS:
        return []
    edges = [0, *_breaks(logs)]
    found = []
    for start, here, end in zip(edges, edges[1:], edges[2:], strict=False):
        before, after = logs[start:here], logs[here:end]
        if before.std() == 0 and after.std() == 0:
            p = 0.0 if before.mean() != after.mean() else 1.0
        else:
            p = _welch(before, after)
        versions = (series.versions[here - 1], series.versions[here])
        found.append(
            ChangePoint(
                name=series.name,
                kind=series.kind,
                run=series.runs[here],
                created=series.created[here],
                before=math.exp(before.mean()),
                after=math.exp(after.mean()),
                p=p,
                versions=versions if versions[0] != versions[1] else None,
            )
        )
    return found


def _welch(first: np.ndarray, second: np.ndarray) -> float:
    """P value, two-sided, of Welch's test that two samples of normal values have one mean."""
    from scipy.special import stdtr

    parts = [float(side.var(ddof=1)) / side.size for side in (first, second)]
    error = math.sqrt(sum(parts))
    sizes = (first.size, second.size)
    degrees = error**4 / sum(v**2 / (n - 1) for v, n in zip(parts, sizes, strict=True))
    return 2 * float(stdtr(degrees, -abs(float(first.mean() - second.mean())) / error))


def _breaks(logs: np.ndarray) -> list[int]:
    """Where new segments begin, and the end of the series."""
    steps = np.abs(np.diff(logs))
    sigma = max(float(np.median(steps)) / _MAD_OF_DIFFERENCES, 1e-4)
    # The Schwarz criterion: a change costs its place and its level.
    penalty = 2 * sigma**2 * math.log(logs.size)
    centred = logs - logs.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(centred**power)]) for power in (1, 2))
    best, last = np.full(logs.size + 1, np.inf), np.zeros(logs.size + 1, dtype=int)
    best[0] = 0.0
    starts = np.array([], dtype=int)
    for end in range(LEAST_SEGMENT, logs.size + 1):
        starts = np.append(starts, end - LEAST_SEGMENT)
        # Squares around its mean of each segment that may end here.
        cost = squares[end] - squares[starts]
        cost -= (sums[end] - sums[starts]) ** 2 / (end - starts)
        totals = best[starts] + cost + penalty
        least = int(totals.argmin())
        best[end], last[end] = totals[least], starts[least]
        starts = starts[totals <= best[end] + penalty]
    found = [logs.size]
    while last[found[-1]]:
        found.append(int(last[found[-1]]))
    return found[::-1]
