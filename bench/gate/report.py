"""What a check is asked and what it answers: settings, verdicts, the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.gate.cells import name_of
from sparsebench.bench.statistics import (
    SMALLEST_EFFECT_OF_INTEREST,
    Change,
    Interval,
    RatioEstimate,
)

MAX_ACCURACY_LOSS = 0.5
FAILING = ("regressed", "failed", "missing")


@dataclass(frozen=True)
class Settings:
    """How strict the gate is.

    Args:
        effect: smallest relative change that counts, fraction.
        max_accuracy_loss: percentage points against the baseline.
        across_machines: judge a run of another machine by accuracies and floors only.
        only: a regular expression; cells whose names do not match are left out.
        strict: a cell too noisy to show the effect fails.
        noise: of this machine: standard deviation of the log-ratio of two equal processes in one
            block; None where it was never measured.
    """

    effect: float = SMALLEST_EFFECT_OF_INTEREST
    max_accuracy_loss: float = MAX_ACCURACY_LOSS
    across_machines: bool = False
    only: str = ""
    strict: bool = False
    noise: float | None = None


@dataclass(frozen=True)
class CellVerdict:
    """What the gate says about one cell.

    Args:
        key: what identifies it.
        status: "same", "better", "blind" (too noisy to show the effect), "regressed", "failed",
            "missing" or "new".
        kind: what its ratio is, see `sparsebench.bench.gate.cells`.
        against: the dense partner, or the other engines.
        before: the ratio of the baseline.
        now: the ratio of the run.
        change: now over before; below 1 is slower.
        p: of no change, adjusted for the number of cells.
        effect: smallest change that counts for this cell.
        accuracy_change: percentage points against the baseline.
        reasons: what is wrong, as sentences.
        moved: what moved, of a cell that got slower.
        repeat: the command that repeats it, where it is not that of a run and its baseline.
    """

    key: Mapping[str, Any]
    status: str
    kind: str
    against: tuple[str, ...] = ()
    before: RatioEstimate | None = None
    now: RatioEstimate | None = None
    change: Change | None = None
    p: float | None = None
    effect: float | None = None
    accuracy_change: Interval | None = None
    reasons: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    repeat: str = ""

    @property
    def name(self) -> str:
        """The cell in words."""
        return name_of(self.key)


@dataclass(frozen=True)
class GateReport:
    """All verdicts of a check.

    Args:
        run: path of the run.
        reason: why the baseline's numbers were accepted.
        verdicts: of the baseline's cells, then of new ones.
        settings: of the check.
        notes: what to know when reading it.
    """

    run: str
    reason: str
    verdicts: tuple[CellVerdict, ...]
    settings: Settings
    notes: tuple[str, ...] = ()

    @property
    def failing(self) -> list[CellVerdict]:
        """Cells that fail the gate."""
        bad = (*FAILING, "blind") if self.settings.strict else FAILING
        return [verdict for verdict in self.verdicts if verdict.status in bad]

    @property
    def exit_code(self) -> int:
        """0 where nothing fails, else 1."""
        return 1 if self.failing else 0
