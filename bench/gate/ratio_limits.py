"""The speed side of the gate: how far a ratio may fall, and what it may never lie below."""

from __future__ import annotations

from sparsebench.bench.comparisons.gated_ratios import GatedCell
from sparsebench.bench.gate.baseline import Limits
from sparsebench.bench.gate.limits import Findings, at_least
from sparsebench.bench.statistics import FAMILY_ERROR, Change, RatioEstimate


def judge_ratio(change: Change, p: float, effect: float, slower: str, findings: Findings) -> str:
    """Judge a change of speed; the status of a cell about which nothing else is found.

    Args:
        change: below 1 is slower.
        p: of no change, adjusted for the number of cells.
        effect: smallest relative change that counts, fraction.
        slower: what to say of a slower one.
        findings: receives what is broken or open.
    """
    least, significant = 1 / (1 + effect), p < FAMILY_ERROR
    if significant and change.ratio <= least:
        findings.broken.append(slower)
    elif change.low < least:
        seen = change.smallest_effect
        findings.unknown.append(
            "its speed has no interval"
            if change.ci95 is None
            else f"it was too noisy: that it is not slower by {effect:.0%} is not shown (95 % "
            f"interval of the change {change.low:.3f} to {change.high:.3f}; a change of "
            f"{seen:.0%} would have been seen)"
        )
    elif significant and change.ratio >= 1 + effect:
        return "better"
    return "same"


def judge_floors(limits: Limits, now: GatedCell, findings: Findings) -> None:
    """Judge the floors that a cell of the baseline sets, on any machine.

    Args:
        limits: of the cell.
        now: the same cell of the run; it has a ratio.
        findings: receives what is broken or open.
    """
    if limits.min_ratio is not None and now.ratio is not None:
        _judge_floor("its ratio", now.ratio, limits.min_ratio, findings)
    for engine, floor in (limits.min_ratio_to or {}).items():
        if engine in now.to_engines:
            _judge_floor(f"its ratio to {engine}", now.to_engines[engine], floor, findings)
        else:
            findings.unknown.append(f"the run has no time of this backbone on {engine}")


def _judge_floor(what: str, ratio: RatioEstimate, floor: float, findings: Findings) -> None:
    spread = "no interval" if ratio.ci95 is None else f"{ratio.low:.2f}× to {ratio.high:.2f}×"
    findings.note(
        at_least(ratio.low, ratio.high, floor),
        f"{what} {ratio.median:.2f}× ({spread}) is below the least allowed, {floor:g}×",
        f"{what} {ratio.median:.2f}× ({spread}) is not shown to reach the least allowed, "
        f"{floor:g}×",
    )
