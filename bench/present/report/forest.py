"""The forest plot beside the answer: who is how fast, with intervals, at which accuracy change.

Each candidate is one line. Positions are per cent of a common logarithmic axis,
so that the page draws them at any width, in any colours, without a script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.decide.answers import Answer, Standing
from sparsebench.bench.present.decisions import Said, plain
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.main import ratio_entry
from sparsebench.bench.records import Delta, Estimate

MOST_LINES = 16
EDGE = 4.0  # per cent left free at both ends
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000)
FEWEST_TICKS = 3
FINER = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 4, 5)
REACH = 1.6  # an interval is cut where it leaves the points by more than this factor


@dataclass(frozen=True)
class Line:
    """One candidate: its name, where it stands, and where its dot and its whisker lie."""

    name: str
    role: str
    standing: str
    ratio: str
    change: str
    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """The lines of one answer."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Forest:
    """All lines, the axis and a text for those who do not see it."""

    groups: tuple[Group, ...]
    ticks: tuple[tuple[str, float], ...]
    one: float
    left_out: int
    alt: str


def forest_of(answered: Sequence[Said]) -> Forest | None:
    """The plot of the answers at one margin; None where no answer has a candidate to draw."""
    drawn = [one for one in answered if one.answer.hurdle is not None]
    if not drawn:
        return None
    shown = drawn[:MOST_LINES]
    each = max(1, min(5, MOST_LINES // len(shown)))
    chosen = [(one, _chosen(one.answer, each)) for one in shown]
    axis = _Axis([_ratio(standing) for _, lines in chosen for _, standing in lines])
    groups = tuple(
        Group(one.title, tuple(_line(role, standing, axis) for role, standing in lines))
        for one, lines in chosen
    )
    alt = " ".join(f"{one.title}: {plain(one.headline)}" for one in shown)
    return Forest(groups, axis.ticks(), axis.at(1.0), len(drawn) - len(shown), alt)


def _chosen(answer: Answer, most: int) -> list[tuple[str, Standing]]:
    """The candidates worth a line, fastest first; the one taken is always among them."""
    shown = [one for one in answer.standings if one.accuracy == "shown"]
    roles = (
        ("taken", answer.standing(answer.take)),
        ("best dense" if answer.best_dense else "reference", answer.standing(answer.hurdle)),
        ("best fp32 dense", answer.standing(answer.fp32)),
        ("not shown", answer.open[0] if answer.open else None),
        ("fastest sparse within", next((o for o in shown if not o.candidate.is_dense), None)),
        ("runner-up", answer.standing(answer.runner_up)),
        ("not shown to be within", answer.first("not shown")),
        ("loses too much", answer.first("ruled out")),
    )
    found: dict[str, tuple[str, Standing]] = {}
    for role, standing in roles:
        if standing is not None and len(found) < most:
            found.setdefault(standing.candidate.name, (role, standing))
    order = list(answer.standings)
    return sorted(found.values(), key=lambda item: order.index(item[1]))


_STANDING = {"shown": "within", "not shown": "unsure", "ruled out": "outside"}


def _line(role: str, standing: Standing, axis: _Axis) -> Line:
    one, ratio = standing.candidate, _ratio(standing)
    low, high = ratio.ci95 or (ratio.median, ratio.median)
    change = one.worst.evidence.change
    told = " ".join(numbers.points(Delta(change.mid, change.interval())))
    worst = " at worst" if len(one.cells) > 1 else ""
    return Line(
        name=one.name,
        role=role,
        standing="dense" if one.is_dense else _STANDING[standing.accuracy],
        ratio="1×" if standing.claim is None else ratio_entry(ratio).whole,
        change="dense" if one.is_dense else f"{told} points{worst}",
        at=axis.at(ratio.median),
        low=axis.at(low),
        high=axis.at(high),
    )


def _ratio(standing: Standing) -> Estimate:
    return Estimate(1.0, (1.0, 1.0), 0) if standing.claim is None else standing.claim.ratio


class _Axis:
    """A logarithmic axis through 1 and all points."""

    def __init__(self, ratios: Sequence[Estimate]) -> None:
        medians = [1.0, *(ratio.median for ratio in ratios)]
        ends = [end for ratio in ratios for end in ratio.ci95 or ()]
        bottom, top = min(medians) / REACH, max(medians) * REACH
        self._low = math.log(max(bottom, min([*medians, *ends])))
        self._high = math.log(min(top, max([*medians, *ends])))
        if self._high - self._low < math.log(1.2):
            self._low, self._high = self._low - math.log(1.1), self._high + math.log(1.1)

    def at(self, value: float) -> float:
        """Per cent from the left, inside the axis."""
        share = (math.log(value) - self._low) / (self._high - self._low)
        return round(EDGE + (100 - 2 * EDGE) * min(1.0, max(0.0, share)), 2)

    def ticks(self) -> tuple[tuple[str, float], ...]:
        """Label and place; few enough for a phone."""
        inside = [t for t in TICKS if self._low <= math.log(t) <= self._high]
        if len(inside) < FEWEST_TICKS:
            inside = [t for t in FINER if self._low <= math.log(t) <= self._high]
            inside = inside[:: max(1, len(inside) // 5)]
            inside = sorted({*inside, 1.0})
        kept: list[float] = []
        for tick in [1.0, *inside]:
            if all(abs(self.at(tick) - self.at(other)) > 11 for other in kept):
                kept.append(tick)
        return tuple((f"{tick:g}×", self.at(tick)) for tick in sorted(kept))
