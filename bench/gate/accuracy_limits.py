"""The accuracy side of the gate.

A limit on the change is about `bench.comparisons.accuracy_change.change_between`: between two
runs that kept their outcomes, over test images and seeds; against a baseline file, which holds one
accuracy a seed, over the seeds on the same test images. Outcomes that are the same with every seed
need no interval: nothing has changed.
"""

from __future__ import annotations

import math

from sparsebench.bench.comparisons.accuracy_change import change_between, interval_of, same_outcomes
from sparsebench.bench.comparisons.gated_ratios import GatedCell
from sparsebench.bench.gate.baseline import BaselineCell
from sparsebench.bench.gate.limits import Findings, at_least
from sparsebench.bench.records import Accuracy
from sparsebench.bench.statistics import Interval
from sparsebench.bench.tasks.kinds import word_of


def judge_accuracy(
    cell: BaselineCell, now: GatedCell, max_loss: float
) -> tuple[Interval | None, Findings]:
    """Change against the baseline in points, and what its limits came to.

    Args:
        cell: of the baseline; its own limit goes first.
        now: the same cell of the run.
        max_loss: percentage points.
    """
    findings = Findings()
    if now.accuracy is None:
        findings.broken.append("it has no accuracy any more, and a time without one enters no gate")
        return None, findings
    if not cell.trained:
        return None, findings  # random weights: their accuracy means nothing
    before = Accuracy.of(now.accuracy.metric, cell.accuracy_per_seed, cell.seeds)
    limits = cell.limits
    most = max_loss if limits.max_accuracy_loss is None else limits.max_accuracy_loss
    change, findings = judge_change(now.accuracy, before, most)
    if limits.min_accuracy is not None:
        findings.add(_judge_floor(now.accuracy, limits.min_accuracy))
    return change, findings


def judge_change(now: Accuracy, before: Accuracy, most: float) -> tuple[Interval, Findings]:
    """The change of an accuracy in points, and whether at most `most` points were lost.

    Args:
        now: of the run that is judged.
        before: of what it is judged by.
        most: percentage points that may be lost.
    """
    stored = change_between(now, before)
    change, findings, word = interval_of(stored), Findings(), word_of([now.metric])
    if same_outcomes(now, before):
        return change, findings
    if stored.ci95 is None:
        spread = "one seed, or none in common, gives no interval"
    else:
        spread = f"95 % interval {change.low:+.2f} to {change.high:+.2f}, over {stored.over}"
    findings.note(
        at_least(change.low, change.high, -most),
        f"its {word} fell by {-change.mid:.2f} points to {now.mean:.2%} ({spread}); "
        f"{most:g} are allowed",
        f"its {word} changed by {change.mid:+.2f} points ({spread}): that at most {most:g} were "
        "lost is not shown",
    )
    return change, findings


def _judge_floor(now: Accuracy, least: float) -> Findings:
    low, high = now.ci95 or (-math.inf, math.inf)
    findings, word = Findings(), word_of([now.metric])
    spread = "one seed gives no interval"
    if now.ci95 is not None:
        spread = f"95 % interval {low:.2%} to {high:.2%}, over {now.over}"
    findings.note(
        at_least(low, high, least),
        f"its {word} {now.mean:.2%} ({spread}) is below the least allowed, {least:.2%}",
        f"its {word} {now.mean:.2%} ({spread}) is not shown to reach the least allowed, "
        f"{least:.2%}",
    )
    return findings
