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
from sparsebench.bench.present.table import Column, Entry, Line, Table
from sparsebench.bench.present.tables.rows import Section
from sparsebench.bench.records import Record

TITLE = "Forecast and measurement"
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


def forecast_table(found: Sequence[Section], total: Total | None = None) -> Table | None:
    """Each cell's forecast beside what it measured; None where nothing was predicted."""
    told = foreseen(found)
    if not told:
        return None
    lines = tuple(
        Line(
            (
                *map(Entry, (one.workload, one.task, one.backbone, one.engine)),
                Entry(f"{one.predicted:.3g}", sort=one.predicted),
                Entry(f"{one.measured:.3g}", sort=one.measured),
                Entry(f"{one.predicted / one.measured:.2f}"),
                Entry(one.basis),
            ),
            {"workload": one.workload, "task": one.task, "engine": one.engine.split()[0]},
        )
        for one in told
    )
    columns = tuple(Column(name, 4 <= place < 7) for place, name in enumerate(HEADER))
    words = total.words() if total is not None else ""
    return Table(TITLE, columns, lines, (CAPTION, *([words] if words else [])))
