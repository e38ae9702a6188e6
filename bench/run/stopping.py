"""Adaptive stopping: a cell ends when its interval is narrow enough, or its time is over.

With ``half_width`` in the plan, ``repeats`` is the least number of blocks and ``max_repeats`` the
greatest. From the eighth block on a sparse cell ends when the interval of its speed-up is within
± `half_width`; or at any block when ``budget_seconds`` have passed for each comparison of its
group. A dense cell ends with the last sparse cell that needs it. The rule looks at the width of an
interval and never at where it lies, so that it stops no sooner at a wanted result; that a width may
be small by chance is paid for in the interval (`sparsebench.bench.statistics.sequential`). Each
record says why its cell ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sparsebench.bench.comparisons.pass_correction import samples_without_passes, trial_key
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Trial
from sparsebench.bench.statistics import BlockPair, estimate_ratio
from sparsebench.bench.statistics.sequential import CONFIDENCE, LEAST_BLOCKS

DEFAULT_MOST = 30


@dataclass(frozen=True)
class Stop:
    """Why a cell ended.

    Args:
        why: "narrow" (interval as asked), "budget" (its time is over) or "blocks" (all that the
            plan allows).
        half_width: half of the interval of its speed-up, relative; None of a dense cell.
        asked: the plan's half width.
        blocks: measured.
        seconds: that the group had taken.
    """

    why: str
    half_width: float | None
    asked: float
    blocks: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For a record's ``extra``."""
        return asdict(self)


def most_blocks(plan: Plan) -> int:
    """Blocks that a plan allows."""
    if not plan.half_width:
        return plan.repeats
    return max(plan.max_repeats or DEFAULT_MOST, plan.repeats)


def stops(
    group: Sequence[Cell], plan: Plan, trials: Sequence[Trial], seconds: float
) -> dict[str, Stop]:
    """Cells of a group that have ended.

    Args:
        group: cells that are launched together.
        plan: with ``half_width`` above 0.
        trials: of the run so far.
        seconds: since the group's first block.

    Returns:
        Cell id -> why; cells that go on are not in it.
    """
    samples = _samples(trials)
    partners = {cell.id: _partner(cell, group) for cell in group}
    pairs = [(cell, dense) for cell in group if (dense := partners[cell.id]) is not None]
    over = bool(plan.budget_seconds) and seconds >= plan.budget_seconds * max(1, len(pairs))
    ended: dict[str, Stop] = {}
    for cell, dense in pairs:
        ours, theirs = samples.get(cell.id, {}), samples.get(dense.id, {})
        common = sorted(ours.keys() & theirs.keys())
        width = _half_width([BlockPair((theirs[b],), (ours[b],)) for b in common])
        why = _why(len(common), width, plan, over)
        if why:
            ended[cell.id] = Stop(why, width, plan.half_width, len(common), seconds)
    for cell in group:
        if partners[cell.id] is not None:
            continue
        waiting = [one for one, dense in pairs if dense.id == cell.id and one.id not in ended]
        needed = [ended[one.id] for one, dense in pairs if dense.id == cell.id and not waiting]
        blocks = len(samples.get(cell.id, {}))
        if needed:
            last = max(needed, key=lambda stop: stop.blocks)
            ended[cell.id] = Stop(last.why, None, plan.half_width, blocks, seconds)
        elif not waiting and blocks >= min(max(plan.repeats, LEAST_BLOCKS), most_blocks(plan)):
            ended[cell.id] = Stop("blocks", None, plan.half_width, blocks, seconds)
    return ended


def _why(blocks: int, width: float | None, plan: Plan, over: bool) -> str | None:
    if over and blocks >= 2:
        return "budget"
    enough = blocks >= max(plan.repeats, LEAST_BLOCKS)
    if enough and width is not None and width <= plan.half_width:
        return "narrow"
    return "blocks" if blocks >= most_blocks(plan) else None


def _half_width(pairs: Sequence[BlockPair]) -> float | None:
    """The wider side of the relative interval of a sequential rule; None without one."""
    if len(pairs) < 2:
        return None
    ratio = estimate_ratio(pairs, confidence=CONFIDENCE)
    if ratio.ci95 is None:
        return None
    return max(ratio.high / ratio.median, ratio.median / ratio.low) - 1


def _samples(trials: Sequence[Trial]) -> Mapping[str, dict[int, Any]]:
    evened = samples_without_passes(trials)
    found: dict[str, dict[int, Any]] = {}
    for trial in trials:
        if trial.status == "ok":
            samples = evened.get(trial_key(trial), np.asarray(trial.seconds) / max(trial.items, 1))
            found.setdefault(trial.cell, {})[trial.block] = samples
    return found


def _partner(cell: Cell, group: Sequence[Cell]) -> Cell | None:
    """The dense cell that a sparse one is compared with; None for a dense one."""
    if cell.dense == cell.backbone:
        return None
    for other in group:
        keys = [(one.engine, one.precision, one.workload, one.task) for one in (other, cell)]
        if keys[0] == keys[1] and other.backbone == cell.dense:
            return other
    return None
