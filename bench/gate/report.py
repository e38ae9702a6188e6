"""What a check is asked and what it answers: settings, verdicts, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparsebench.bench.comparisons.gated_ratios import name_of, varying_of
from sparsebench.bench.statistics import (
    SMALLEST_EFFECT_OF_INTEREST,
    Change,
    Interval,
    RatioEstimate,
)
from sparsebench.bench.statistics.accuracy import refuse_loss

MAX_ACCURACY_LOSS = 0.5
FAILING = ("regressed", "failed", "missing")
BLIND = "blind"
NOT_HERE = "not here"
CANNOT_TELL = 4
INCONCLUSIVE = ("fail", "pass")


@dataclass(frozen=True)
class Settings:
    """How strict the gate is.

    Args:
        effect: smallest relative change that counts, fraction.
        max_accuracy_loss: percentage points against the baseline.
        across_machines: judge a run of another machine by accuracies and floors only.
        only: a regular expression; cells whose names do not match are left out.
        inconclusive: what a cell does whose limits the noise leaves open: "fail", "pass", or
            None: it is an outcome of its own, exit code 4.
        noise: of this machine: standard deviation of the log-ratio of two equal processes in one
            block; None where it was never measured.
        busy: how busy the machines of the run and of its baseline were, as sentences; where there
            are any, no ratio is judged.

    Raises:
        SparsebenchError: a loss of accuracy that cannot be meant.
    """

    effect: float = SMALLEST_EFFECT_OF_INTEREST
    max_accuracy_loss: float = MAX_ACCURACY_LOSS
    across_machines: bool = False
    only: str = ""
    inconclusive: str | None = None
    noise: float | None = None
    busy: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_loss(self.max_accuracy_loss)


@dataclass(frozen=True)
class CellVerdict:
    """What the gate says about one cell.

    Args:
        key: what identifies it.
        status: "same", "better", "blind" (cannot tell: a limit is neither shown to
            hold nor to be broken), "regressed", "failed",
            "missing", "new" or "not here" (this processor is not asked for it).
        kind: what its ratio is, see `sparsebench.bench.comparisons.gated_ratios`.
        against: the dense baseline, or the other engines.
        before: the ratio of the baseline.
        now: the ratio of the run.
        change: now over before; below 1 is slower.
        p: of no change, adjusted for the number of cells.
        effect: smallest change that counts for this cell.
        accuracy_change: percentage points against the baseline.
        metric: that it is a change of; None where there is none.
        reasons: what is wrong, as sentences.
        unknown: what cannot be told, as sentences.
        moved: what moved, of a cell that got slower.
        repeat: the command that repeats it, where it is not that of a run and its baseline.
        varying: settings that its name holds, see :func:`told_apart`.
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
    metric: str | None = None
    reasons: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    repeat: str = ""
    varying: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The cell in words."""
        return name_of(self.key, self.varying)


def told_apart(verdicts: Sequence[CellVerdict]) -> tuple[CellVerdict, ...]:
    """The same verdicts, each named with the settings in which they differ."""
    varying = varying_of([verdict.key for verdict in verdicts])
    return tuple(replace(verdict, varying=varying) for verdict in verdicts)


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
        return [verdict for verdict in self.verdicts if self.fails(verdict)]

    def fails(self, verdict: CellVerdict) -> bool:
        """Whether one of its cells fails the gate."""
        strict = self.settings.inconclusive == "fail"
        return verdict.status in FAILING or (strict and verdict.status == BLIND)

    @property
    def blind(self) -> list[CellVerdict]:
        """Cells of which the noise leaves a limit open."""
        return [verdict for verdict in self.verdicts if verdict.status == BLIND]

    @property
    def exit_code(self) -> int:
        """0 where every limit is shown to hold, 1 where one is broken, 4 where one is open.

        `Settings.inconclusive` makes 1 or 0 of the 4.
        """
        if self.failing:
            return 1
        return CANNOT_TELL if self.blind and self.settings.inconclusive is None else 0
