"""What the paper's tables say, as functions of cells.

Mean relative error increase over tasks, agreement of two rankings (Kendall's tau-b), and the
benefit of a network against the difficulty of the task (Pearson, interval by Fisher's z).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsebench.bench.paper.transfer_cells import DENSE, Cell, Model, Transfer, of
from sparsebench.bench.statistics import Interval, mean_interval
from sparsebench.bench.statistics.intervals import t_quantile

LEAST_RANKED = 3
LEAST_TASKS = 4


@dataclass(frozen=True)
class ErrorIncrease:
    """Mean relative error increase of one network.

    Args:
        model: the network.
        transfer: kind of fine-tuning.
        value: per cent, with its 95 % interval over tasks (t).
        tasks: that it is the mean of.
    """

    model: Model
    transfer: Transfer
    value: Interval
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How alike two rankings of the same networks are.

    Args:
        tau: Kendall's tau-b, -1 to 1.
        p: of no association.
        count: networks ranked.
    """

    tau: float
    p: float
    count: int


@dataclass(frozen=True)
class Correlation:
    """Pearson's r with its 95 % interval over so many tasks."""

    r: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Benefit:
    """A network's benefit over dense in linear fine-tuning, against the tasks' difficulty.

    Args:
        model: the network.
        gaps: task -> difficulty: dense full minus dense linear accuracy, points.
        changes: task -> accuracy change against dense, points.
        of_change: correlation of the change with the gap; None below four tasks.
        of_error: correlation of the relative error increase with the gap.
    """

    model: Model
    gaps: Mapping[str, float]
    changes: Mapping[str, float]
    of_change: Correlation | None
    of_error: Correlation | None


def error_increase(
    cells: Sequence[Cell], model: Model, transfer: Transfer, tasks: Sequence[str] | None = None
) -> ErrorIncrease | None:
    """Of one network over its tasks, or over the given ones; None without any."""
    mine = of(cells, model, transfer)
    values = {
        task: cell.error_increase
        for task, cell in sorted(mine.items())
        if (tasks is None or task in tasks) and cell.error_increase is not None
    }
    known = [value for value in values.values() if value is not None]
    if not known:
        return None
    return ErrorIncrease(model, transfer, mean_interval(known), tuple(values))


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement | None:
    """Kendall's tau-b of two rankings of the same networks; None below three."""
    if len(first) < LEAST_RANKED:
        return None
    from scipy.stats import kendalltau

    found = kendalltau(first, second)
    if not math.isfinite(found.statistic):
        return None  # all tied
    return Agreement(float(found.statistic), float(found.pvalue), len(first))


def correlation(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Pearson's r; None below four pairs, or where one side does not vary."""
    if len(x) < LEAST_TASKS or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    from scipy.stats import pearsonr

    found = pearsonr(x, y)
    low, high = found.confidence_interval(0.95)
    return Correlation(float(found.statistic), float(low), float(high), len(x))


def difficulty(cells: Sequence[Cell], arch: str) -> dict[str, float]:
    """Task -> dense full minus dense linear accuracy, points."""
    dense = Model(arch, DENSE, 0.0)
    linear, full = of(cells, dense, "linear"), of(cells, dense, "full")
    return {task: full[task].mean - linear[task].mean for task in sorted(linear) if task in full}


def benefit(cells: Sequence[Cell], model: Model) -> Benefit | None:
    """Of a network in linear fine-tuning; None without a task of known difficulty."""
    gaps = difficulty(cells, model.arch)
    mine = of(cells, model, "linear")
    shared = {
        task: (gaps[task], cell.change, cell.error_increase)
        for task, cell in sorted(mine.items())
        if task in gaps and cell.change is not None and cell.error_increase is not None
    }
    if not shared:
        return None
    gap, change, error = (list(column) for column in zip(*shared.values(), strict=True))
    known_changes = [float(value) for value in change if value is not None]
    known_errors = [float(value) for value in error if value is not None]
    numbers = [float(value) for value in gap if value is not None]
    return Benefit(
        model,
        dict(zip(shared, numbers, strict=True)),
        dict(zip(shared, known_changes, strict=True)),
        correlation(numbers, known_changes),
        correlation(numbers, known_errors),
    )


def difference(ours: Cell, theirs: Cell) -> Interval:
    """Our mean minus the paper's, points, with Welch's interval where both have a spread."""
    mid = ours.mean - theirs.mean
    pooled = min(ours.trainings, theirs.trainings)
    if ours.std is None or theirs.std is None:
        return Interval(mid, -math.inf, math.inf, pooled)
    parts = [one.std**2 / one.trainings for one in (ours, theirs) if one.std is not None]
    total = math.fsum(parts)
    if total == 0:
        return Interval(mid, mid, mid, pooled)
    degrees = total**2 / math.fsum(
        part**2 / (one.trainings - 1) for part, one in zip(parts, (ours, theirs), strict=True)
    )
    half = t_quantile(0.975, degrees) * math.sqrt(total)
    return Interval(mid, mid - half, mid + half, pooled)
