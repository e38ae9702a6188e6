"""Limits with three outcomes: a limit is passed when that is shown, failed when the contrary is.

What the interval does not decide is a third outcome, "cannot tell": noise passes no limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["passed", "failed", "unknown"]


def at_least(low: float, high: float, limit: float) -> Outcome:
    """Whether a value is at least `limit`.

    Args:
        low: lower end of the value's 95 % interval; ``-inf`` (0 of a ratio) where it has none.
        high: upper end; ``inf`` in the same case.
        limit: in the same unit.
    """
    if low >= limit:
        return "passed"
    return "failed" if high < limit else "unknown"


@dataclass
class Findings:
    """What the limits of one cell came to.

    Attributes:
        broken: limits whose contrary is shown, as sentences.
        unknown: limits that the noise leaves open, as sentences.
    """

    broken: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def note(self, outcome: Outcome, broken: str, unknown: str) -> None:
        """Keep the sentence of an outcome."""
        if outcome == "failed":
            self.broken.append(broken)
        elif outcome == "unknown":
            self.unknown.append(unknown)

    def add(self, other: Findings) -> None:
        """Take over the sentences of another group of limits."""
        self.broken += other.broken
        self.unknown += other.unknown

    def status(self, otherwise: str) -> str:
        """The cell's status: a broken limit goes before an open one."""
        if self.broken:
            return "regressed"
        return "blind" if self.unknown else otherwise
