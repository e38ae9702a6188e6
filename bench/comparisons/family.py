"""The comparisons of a run as a family: whether its verdicts hold after Holm's correction.

Each interval is a 95 % one for itself: of twenty comparisons without any true change one shows
some. Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979) keeps the
probability of even one such verdict in the whole run below 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from sparsebench.bench.records import Comparison, Estimate
from sparsebench.bench.statistics import FAMILY_ERROR, RatioEstimate, holm, p_of


def hold_after_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons, each with its corrected p-value and what becomes of its verdict.

    The family is every comparison of the run whose speed-up could be estimated. A verdict keeps
    its word: that it does not hold stands beside it, and as a note.
    """
    family = [c for c in comparisons if c.speedup is not None]
    p_values = holm([p_of(_ratio(c.speedup)) for c in family if c.speedup is not None])
    corrected = {id(c): p for c, p in zip(family, p_values, strict=True)}
    return [
        _told(c, corrected[id(c)], len(family)) if id(c) in corrected else c for c in comparisons
    ]


def _told(comparison: Comparison, p: float, count: int) -> Comparison:
    if comparison.verdict not in ("better", "worse"):
        return replace(comparison, p_holm=p)
    holds = p < FAMILY_ERROR
    notes = comparison.notes
    if count > 1:
        words = "holds" if holds else "does not hold"
        notes = (
            *notes,
            f"The verdict {words} after Holm's correction over this run's {count} comparisons.",
        )
    return replace(comparison, p_holm=p, holds=holds, notes=notes)


def _ratio(estimate: Estimate) -> RatioEstimate:
    low, high = estimate.ci95 or (0.0, math.inf)
    return RatioEstimate(estimate.median, low, high, estimate.blocks, math.inf)
