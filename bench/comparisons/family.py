"""The comparisons of a run as a family: its verdicts are those after Holm's correction.

Each interval is a 95 % one for itself: of twenty comparisons without any true change one shows
some. Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979) keeps the
probability of even one such verdict in the whole family below 5 %. Speed-ups (same engine) and
totals (against the best dense engine) are two families: each answers a question of its own.

A ratio is *better* (significantly) where its corrected p-value is below 5 % and its point beyond
the smallest effect of interest, *worse* the other way round, *tied* where its 95 % interval lies
inside that effect in both directions, so that any difference is too small to matter (two one-sided
tests, Schuirmann 1987), and else *inconclusive*: more blocks would tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from sparsebench.bench.records import Comparison, Estimate
from sparsebench.bench.statistics import (
    FAMILY_ERROR,
    SMALLEST_EFFECT_OF_INTEREST,
    RatioEstimate,
    holm,
    p_of,
    verdict,
)

Verdict = Literal["better", "worse", "tied", "inconclusive"]


def corrected_verdict(ratio: Estimate, p: float) -> Verdict:
    """The verdict on one ratio of a family.

    Args:
        ratio: above 1 is better.
        p: its p-value (no change at all) after the correction.
    """
    threshold, size = math.log1p(SMALLEST_EFFECT_OF_INTEREST), math.log(ratio.median)
    if p < FAMILY_ERROR and abs(size) >= threshold:
        return "better" if size > 0 else "worse"
    if ratio.ci95 and -threshold < math.log(ratio.ci95[0]) <= math.log(ratio.ci95[1]) < threshold:
        return "tied"
    return "inconclusive"


def corrected_verdicts(ratios: Sequence[Estimate | None]) -> list[Verdict | None]:
    """Verdicts on a family of ratios, in their order; None where there is none."""
    p_values = iter(holm([p_of(as_ratio(ratio)) for ratio in ratios if ratio is not None]))
    return [None if r is None else corrected_verdict(r, next(p_values)) for r in ratios]


def hold_after_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons with their corrected verdicts and p-values.

    The family is every comparison of the run whose speed-up could be estimated. Where an
    interval excludes 1 for itself and the corrected one does not, a note says so.
    """
    family = [c for c in comparisons if c.speedup is not None]
    p_values = holm([p_of(as_ratio(c.speedup)) for c in family if c.speedup is not None])
    totals = corrected_verdicts([c.total for c in family])
    corrected = {
        id(c): _corrected(c, p, total, len(family))
        for c, p, total in zip(family, p_values, totals, strict=True)
    }
    return [corrected.get(id(c), c) for c in comparisons]


def as_ratio(estimate: Estimate) -> RatioEstimate:
    """A stored ratio as one that can be calculated with; its smallest effect is not known."""
    low, high = estimate.ci95 or (0.0, math.inf)
    return RatioEstimate(estimate.median, low, high, estimate.blocks, math.inf)


def _corrected(comparison: Comparison, p: float, total: Verdict | None, count: int) -> Comparison:
    assert comparison.speedup is not None
    alone = verdict(as_ratio(comparison.speedup))
    holds = None if alone == "inconclusive" else p < FAMILY_ERROR
    notes = comparison.notes
    if holds is False:
        notes = (
            *notes,
            f"Its own 95% interval excludes 1; corrected for this run's {count} comparisons "
            "(Holm), it does not.",
        )
    return replace(
        comparison, verdict=corrected_verdict(comparison.speedup, p), total_verdict=total,
        p_holm=p, holds=holds, notes=notes,
    )  # fmt: skip
