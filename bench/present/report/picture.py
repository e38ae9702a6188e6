"""The picture beside the answer: who is how fast, with intervals, at which accuracy change.

Each candidate is one line of a forest plot. Positions are per cent of a common logarithmic axis,
so that the page draws them at any width, in any colours, without a script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.present.report.answers import Answer, Candidate
from sparsebench.bench.present.report.build import Answered
from sparsebench.bench.present.report.cells import ratio_text
from sparsebench.bench.present.report.words import plain

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
class Picture:
    """All lines, the axis and a text for those who do not see it."""

    groups: tuple[Group, ...]
    ticks: tuple[tuple[str, float], ...]
    one: float
    left_out: int
    alt: str


def picture_of(answered: Sequence[Answered]) -> Picture | None:
    """The picture of the answers at one margin; None where no answer has a candidate."""
    drawn = [one for one in answered if one.words.kind != "none"]
    if not drawn:
        return None
    shown = drawn[:MOST_LINES]
    each = max(1, min(5, MOST_LINES // len(shown)))
    chosen = [(one, _chosen(one.answer, each)) for one in shown]
    candidates = [candidate for _, lines in chosen for _, candidate in lines]
    axis = _Axis(candidates)
    groups = tuple(
        Group(one.words.title, tuple(_line(one.answer, role, c, axis) for role, c in lines))
        for one, lines in chosen
    )
    alt = " ".join(f"{one.words.title}: {plain(one.words.headline)}" for one in shown)
    return Picture(groups, axis.ticks(), axis.at(1.0), len(drawn) - len(shown), alt)


def _chosen(answer: Answer, most: int) -> list[tuple[str, Candidate]]:
    """The candidates worth a line, fastest first; the winner is always among them."""
    roles = (
        ("fastest within", answer.winner if answer.certain else None),
        ("best dense", answer.best_dense),
        ("best sparse within", answer.best_sparse),
        ("runner-up", answer.runner_up),
        ("perhaps outside", answer.unsure),
        ("outside", answer.outside),
        ("fastest for production", answer.deployable),
    )
    found: dict[str, tuple[str, Candidate]] = {}
    for role, candidate in roles:
        if candidate is not None and candidate.name not in found and len(found) < most:
            found[candidate.name] = (role, candidate)
    return sorted(found.values(), key=lambda item: item[1].seconds)


def _line(answer: Answer, role: str, candidate: Candidate, axis: _Axis) -> Line:
    low, high = candidate.total.ci95 or (candidate.total.median, candidate.total.median)
    cell = candidate.worst
    change = "dense" if candidate.is_dense else f"{cell.change_text} points"
    if len(candidate.cells) > 1 and not candidate.is_dense:
        change += " at worst"
    return Line(
        name=candidate.name,
        role=role,
        standing="dense" if candidate.is_dense else candidate.standing(answer.margin),
        ratio="1×" if candidate.is_reference else ratio_text(candidate.ratio),
        change=change,
        at=axis.at(candidate.total.median),
        low=axis.at(low),
        high=axis.at(high),
    )


class _Axis:
    """A logarithmic axis through 1 and all points."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        medians = [1.0, *(candidate.total.median for candidate in candidates)]
        ends = [end for c in candidates for end in c.total.ci95 or ()]
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
