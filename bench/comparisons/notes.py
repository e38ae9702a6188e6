"""What is said beside a comparison's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsebench.bench.comparisons.times import Pairing
from sparsebench.bench.statistics import RatioEstimate
from sparsebench.bench.statistics.ratios import LEAST_BLOCKS

GENERATED = "Generated weights: speed only, the accuracy means nothing."
TOO_FEW_BLOCKS = (
    f"No interval: that takes {LEAST_BLOCKS} blocks. Nothing is shown here; repeat with "
    f"--repeats {LEAST_BLOCKS} or more."
)
UNEVEN = (
    "A busy machine slowed some cells of this table more than others, so what it did to all of "
    "them is not taken out of the times: the ratio depends on the load."
)


def block_notes(pairing: Pairing, speedup: RatioEstimate) -> list[str]:
    """That blocks were interrupted, or too few for an interval."""
    notes = []
    if pairing.split:
        blocks = "1 block was" if pairing.split == 1 else f"{pairing.split} blocks were"
        fate = (
            "used all the same, because fewer than two whole ones exist"
            if pairing.split_used
            else "left out"
        )
        notes.append(f"{blocks} interrupted, its two sides come from different launches: {fate}.")
    if speedup.ci95 is None:
        notes.append(TOO_FEW_BLOCKS)
    return notes


def missed_notes(training: Mapping[str, Any] | None) -> list[str]:
    """That seeds missed the target, where a speed-up of the whole schedule is quoted."""
    missed = (training or {}).get("missed") or {}
    if not training or not missed.get("sparse"):
        return []
    seeds = "1 seed" if missed["sparse"] == 1 else f"{missed['sparse']} seeds"
    return [
        f"{seeds} of the sparse network and {missed['dense']} of the dense one "
        f"missed the target, {training['target']:.1%} on the validation split: the speed-up is "
        "that of the schedule, not of the time to one accuracy."
    ]


def two_clocks(process: RatioEstimate, busy: str | None) -> str:
    """What to say where wall and process time tell different ratios."""
    ends = process.ci95
    told = f"{process.median:.2f}×" + (f" ({ends[0]:.2f}–{ends[1]:.2f})" if ends else "")
    why = "The machine was busy" if busy else "One side keeps fewer of its threads at work"
    return f"By process time the speed-up is {told}, unlike by the wall clock. {why}."
