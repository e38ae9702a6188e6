"""The accuracy side of the gate."""

from __future__ import annotations

from sparsebench.bench.gate.baseline import BaselineCell
from sparsebench.bench.gate.cells import GatedCell
from sparsebench.bench.statistics import Interval, accuracy_delta


def judge_accuracy(
    cell: BaselineCell, now: GatedCell, max_loss: float
) -> tuple[Interval | None, list[str]]:
    """Change against the baseline in points, and what is wrong with it, as sentences.

    Paired by seed where the seeds are the same. A loss beyond the limit counts unless its
    interval over the seeds contains no change.

    Args:
        cell: of the baseline; its own limit goes first.
        now: the same cell of the run.
        max_loss: percentage points.
    """
    if now.accuracy is None:
        return None, ["it has no accuracy any more, and a time without one enters no gate"]
    per_seed = now.accuracy.per_seed
    if now.accuracy.seeds == cell.seeds and len(per_seed) == len(cell.accuracy_per_seed):
        change = accuracy_delta(per_seed, cell.accuracy_per_seed)
    else:
        before = sum(cell.accuracy_per_seed) / len(cell.accuracy_per_seed)
        mid = (now.accuracy.mean - before) * 100
        change = Interval(mid, float("-inf"), float("inf"), 1)
    if not cell.trained:
        return None, []  # random weights: their accuracy means nothing
    reasons = []
    most = max_loss
    if cell.limits.max_accuracy_loss is not None:
        most = cell.limits.max_accuracy_loss
    if -change.mid > most and not (change.ci95 is not None and change.high >= 0):
        reasons.append(
            f"its accuracy fell by {-change.mid:.2f} points to {now.accuracy.mean:.2%}; "
            f"{most:g} are allowed"
        )
    least = cell.limits.min_accuracy
    if least is not None and now.accuracy.mean < least:
        reasons.append(
            f"its accuracy {now.accuracy.mean:.2%} is below the least allowed, {least:.2%}"
        )
    return change, reasons
