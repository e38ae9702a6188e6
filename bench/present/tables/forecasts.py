"""What was predicted before a run beside what it measured, cell by cell and in all.

The forecast of a cell is that of one trial, as its record keeps it (``extra.predicted_seconds``:
seconds of an engine call for ``inference``, else end to end). The run's own forecast holds all
blocks, launches and calibrations; beside it stands the wall time of all launches, those that the
drift rule discarded among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sparsebench.bench.machine.drift import wall_seconds
from sparsebench.bench.present import escape
from sparsebench.bench.present.tables.rows import Section
from sparsebench.bench.records import Record

HEADER = (
    "workload", "task", "backbone", "engine", "predicted s", "measured s", "ratio", "basis",
)  # fmt: skip
CAPTION = (
    "Seconds of one trial (inference: of one engine call), predicted before the run from earlier "
    "runs on this machine, and the median measured; ratio: predicted over measured. Basis: "
    "'measured' (this cell before) or 'scaled' (this cell with other counts of images, epochs or "
    "seeds); cells that were never measured here have no line."
)


@dataclass(frozen=True)
class Foreseen:
    """One cell: seconds predicted and measured; engine with the settings that vary."""

    workload: str
    task: str
    backbone: str
    engine: str
    predicted: float
    measured: float
    basis: str

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured

    def cells(self) -> tuple[str, ...]:
        """As text under :data:`HEADER`."""
        seconds = (f"{self.predicted:.3g}", f"{self.measured:.3g}", f"{self.ratio:.2f}")
        return (self.workload, self.task, self.backbone, self.engine, *seconds, self.basis)


@dataclass(frozen=True)
class Total:
    """Seconds of a whole run, predicted and measured; None where not known."""

    predicted: float | None
    measured: float | None

    def words(self) -> str:
        """A sentence; empty where one of the two is not known."""
        if not self.predicted or not self.measured:
            return ""
        return (
            f"The whole run: {self.predicted:.0f} s predicted, {self.measured:.0f} s measured "
            f"({self.predicted / self.measured:.2f})."
        )


def foreseen(found: Sequence[Section]) -> list[Foreseen]:
    """All cells of a run that were predicted and measured, in the order of its tables."""
    told = []
    for section in found:
        for row in section.rows:
            measured = measured_seconds(row.record)
            predicted = row.record.extra.get("predicted_seconds")
            if predicted is None or not measured:
                continue
            told.append(
                Foreseen(
                    section.workload, section.task, row.record.backbone.name, row.engine,
                    float(predicted), measured, str(row.record.extra.get("prediction_basis", "")),
                )
            )  # fmt: skip
    return told


def measured_seconds(record: Record) -> float | None:
    """Median seconds of a trial (of an engine call for ``inference``); None where unmeasured."""
    if not record.trials:
        return None
    return median(median(trial.seconds) for trial in record.trials)


def total_of(records: Sequence[Record], launches: Mapping[str, Mapping[str, Any]]) -> Total:
    """The whole run.

    Args:
        records: all of it, one a cell.
        launches: launch -> what ``blocks.jsonl`` notes of it (`bench.machine.drift`).
    """
    whole = [record.extra.get("predicted_whole_seconds") for record in records]
    known = [float(seconds) for seconds in whole if seconds is not None]
    walls = [seconds for line in launches.values() if (seconds := wall_seconds(line)) is not None]
    return Total(
        sum(known) if known and len(known) == len(whole) else None,
        sum(walls) if walls and len(walls) == len(launches) else None,
    )


def forecast_lines(found: Sequence[Section], total: Total | None) -> list[str]:
    """The table as Markdown; nothing where nothing was predicted."""
    rows = [one.cells() for one in foreseen(found)]
    if not rows:
        return []
    marks = (*["---"] * 4, *["---:"] * 3, "---")
    head = [escape.markdown_row(HEADER), f"| {' | '.join(marks)} |"]
    table = [*head, *map(escape.markdown_row, rows)]
    words = total.words() if total is not None else ""
    return ["", "## Forecast and measurement", "", *table, "", f"{CAPTION} {words}".rstrip()]
