"""What is known of a variant's accuracy change, and what more would have to be measured.

The accuracy change that every answer uses is the paired change against the variant's dense
baseline: the same number, with the same interval, as the tables' "change".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sparsebench.bench.comparisons.accuracy_change import (
    accuracy_change,
    common_accuracies,
    paired_by_seed,
)
from sparsebench.bench.decide.uncertain import NORMAL, Uncertain, of_half_width
from sparsebench.bench.records import Record
from sparsebench.bench.statistics import FAMILY_ERROR, SMALLEST_EFFECT_OF_INTEREST
from sparsebench.bench.statistics.changes import two_sided
from sparsebench.bench.statistics.intervals import CONFIDENCE, t_quantile
from sparsebench.bench.statistics.ratios import LEAST_BLOCKS

MOST = 1000
"""More seeds or blocks than this are not asked for."""


@dataclass(frozen=True)
class AccuracyEvidence:
    """An accuracy change and what it rests on.

    Attributes:
        change: percentage points, variant minus dense baseline.
        seeds: that both sides share.
        images: in the test set; None where the record does not say.
        images_error: standard error (points) of the draw of test images, a part of the error of
            `change` that no further seed makes smaller; None where the interval leaves it out.
    """

    change: Uncertain
    seeds: int
    images: int | None = None
    images_error: float | None = None

    def loses_at_most(self, points: float) -> float | None:
        """Probability, 0-1, that the true loss is at most `points`; None where nothing tells."""
        change = self.change
        return Uncertain(-change.mid, change.error, change.degrees).at_most(points)


EXACTLY_NONE = AccuracyEvidence(Uncertain(0.0, 0.0, math.inf), 0)
"""Of the dense baseline itself."""


def accuracy_evidence(
    record: Record, baseline: Record, records: Sequence[Record]
) -> AccuracyEvidence | None:
    """The change of a cell against its dense baseline; None where an accuracy is not known.

    The one place where an answer's accuracy comes from.

    Args:
        record: the cell.
        baseline: a cell of its dense baseline, on the same engine where there is one.
        records: all of the run.
    """
    delta = accuracy_change(record, baseline, records).delta
    both = common_accuracies(record, baseline, records)
    if delta is None or both is None:
        return None
    seeds = len(paired_by_seed(both[0], both[1])[0])
    half = math.inf if delta.ci95 is None else (delta.ci95[1] - delta.ci95[0]) / 2
    # Accuracies are counts of images: what is below a billionth of a point is rounding.
    mean, half = round(delta.mean, 9), round(half, 9)
    of_seeds = getattr(delta, "ci95_seeds", None) or delta.ci95
    if getattr(delta, "over", "seeds") == "seeds" or delta.ci95 is None or of_seeds is None:
        return AccuracyEvidence(of_half_width(mean, half, seeds), seeds, record.task.test)
    # Over images and seeds the interval has no single number of degrees of freedom; up to a
    # probability of 97.5 % the normal distribution's is the wider one.
    seeds_half = (of_seeds[1] - of_seeds[0]) / 2
    images_error = math.sqrt(max(0.0, half**2 - seeds_half**2)) / NORMAL
    change = Uncertain(mean, half / NORMAL, math.inf)
    return AccuracyEvidence(change, seeds, record.task.test, images_error)


@dataclass(frozen=True)
class Need:
    """What would show what was not shown, if means and spreads stay as they are.

    Attributes:
        what: is to be more.
        now: as measured.
        about: how many it takes in all; None for more than :data:`MOST`.
    """

    what: Literal["seeds", "test images", "blocks"]
    now: int
    about: int | None


def accuracy_need(found: AccuracyEvidence, loss: float, confidence: float) -> Need:
    """More seeds or test images, until the limit holds, or is broken, with the probability.

    Args:
        found: as measured.
        loss: the limit, points.
        confidence: the probability, 0-1.
    """
    change, images_error = found.change, found.images_error or 0.0
    if change.error is None:
        return Need("seeds", found.seeds, 3)
    gap, by_images = abs(loss + change.mid), t_quantile(confidence, 1e9) * images_error
    if found.images and by_images >= gap:  # no number of seeds would do
        times = (by_images / gap) ** 2 if gap else math.inf
        return Need("test images", found.images, _whole(2 * times * found.images))
    spread = math.sqrt(max(0.0, change.error**2 - images_error**2) * found.seeds)

    def shown(seeds: int) -> bool:
        by_seeds = t_quantile(confidence, seeds - 1) * spread / math.sqrt(seeds)
        return math.hypot(by_seeds, by_images) <= gap

    return Need("seeds", found.seeds, _first(shown, max(2, found.seeds + 1)))


def blocks_need(log: Uncertain, blocks: int, factor: float) -> Need:
    """More blocks, until a ratio gets a verdict.

    Args:
        log: the ratio's logarithm.
        blocks: as measured.
        factor: Holm's correction of its p-value, 1 or more.
    """
    if log.error is None:
        return Need("blocks", blocks, LEAST_BLOCKS)
    threshold, spread = math.log1p(SMALLEST_EFFECT_OF_INTEREST), log.error * math.sqrt(blocks)

    def told(count: int) -> bool:
        error = spread / math.sqrt(count)
        if abs(log.mid) >= threshold:
            return two_sided(log.mid / error, count - 1) * factor < FAMILY_ERROR
        half = t_quantile(0.5 + CONFIDENCE / 2, count - 1) * error
        return abs(log.mid) + half < threshold

    return Need("blocks", blocks, _first(told, max(2, blocks + 1)))


def _first(enough: Callable[[int], bool], start: int) -> int | None:
    """The first count that is enough; None where :data:`MOST` is not."""
    return next((count for count in range(start, MOST + 1) if enough(count)), None)


def _whole(value: float) -> int | None:
    return math.ceil(value) if math.isfinite(value) else None
