"""The runs of a report, read once: records, trials, comparisons, tables, plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sparsebench.bench.comparisons import (
    CellTimes,
    Records,
    by_cell,
    compare_run,
    indexed,
    run_times,
)
from sparsebench.bench.comparisons.busy import Busy, busy
from sparsebench.bench.decide import RunData
from sparsebench.bench.machine.drift import noted_blocks
from sparsebench.bench.present.tables import Section, sections
from sparsebench.bench.records import Comparison, Record, RunFolder, Trial
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError

PLAN = "plan.toml"


@dataclass(frozen=True)
class RunFacts:
    """Everything that a report says of one run follows from this.

    Args:
        label: what the report calls it, unlike any other run of the report.
        path: its folder, as the user named it.
        records: one a cell.
        trials: all, also discarded ones.
        comparisons: one a sparse record.
        sections: its tables, one a workload and task.
        times: record id -> times.
        plan: text of its plan.toml; None where it has none.
        blocks: launch -> what the drift rule noted of it.
        busy: how busy its machine was; None where it was quiet, or nothing is known.
    """

    label: str
    path: Path
    records: Records
    trials: tuple[Trial, ...]
    comparisons: tuple[Comparison, ...]
    sections: tuple[Section, ...]
    times: Mapping[str, CellTimes]
    plan: str | None
    blocks: Mapping[str, Mapping[str, Any]]
    busy: Busy | None = None

    @cached_property
    def data(self) -> RunData:
        """What its answers follow from."""
        return RunData(self.label, self.records, self.trials, self.comparisons, self.times)

    @property
    def machines(self) -> dict[str, Mapping[str, Any]]:
        """Fingerprint -> facts; a run that was resumed elsewhere has several."""
        return {str(record.machine.get("fingerprint")): record.machine for record in self.records}

    @property
    def when(self) -> str:
        """The days on which its records were written, ISO 8601."""
        days = sorted({record.created[:10] for record in self.records})
        return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"

    @property
    def packages(self) -> dict[str, str]:
        """Package -> its versions; those that are not installed are left out."""
        found: dict[str, dict[str, None]] = {}
        for record in self.records:
            for name, version in record.packages.items():
                if version:
                    found.setdefault(name, {})[version] = None
        return {name: ", ".join(versions) for name, versions in found.items()}

    def record(self, key: str) -> Record:
        """The record with this id."""
        return self.records.by_id[key]


def load_runs(paths: Sequence[Path]) -> list[RunFacts]:
    """Read the runs; a folder that is named twice counts once.

    Raises:
        SparsebenchError: a folder holds no run, or a file of it is damaged or unreadable.
        NothingMeasuredError: a run has not written one record yet.
    """
    folders = RunFolder.reading_all(paths)
    labels = _labels([folder.path for folder in folders])
    return [_read(folder, label) for folder, label in zip(folders, labels, strict=True)]


def _read(folder: RunFolder, label: str) -> RunFacts:
    records, trials = indexed(folder.records()), folder.trials()
    if not records:
        raise NothingMeasuredError(
            f"{folder.path} has no record yet.",
            f"Let its run finish: `sparsebench run {folder.path / PLAN} --out {folder.path} "
            "--resume`.",
        )
    comparisons = compare_run(records, trials)
    return RunFacts(
        label=label,
        path=folder.path,
        records=records,
        trials=tuple(trials),
        comparisons=tuple(comparisons),
        sections=tuple(sections(records, trials, comparisons)),
        times=run_times(records, by_cell(trials)),
        plan=_plan_text(folder.path / PLAN),
        blocks=noted_blocks(folder.path),
        busy=busy(records, trials),
    )


def _plan_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be read: {error.strerror or error}.") from error


def _labels(paths: Sequence[Path]) -> list[str]:
    """Folder names, with as many parents as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        labels = ["/".join(names[-depth:]) for names in parts]
        if len(set(labels)) == len(labels):
            break
    return labels if parts else []


def fact_text(value: Any) -> str:
    """A fact of a machine as text; empty where it is unknown."""
    if isinstance(value, Mapping):
        told = {key: fact_text(item) for key, item in value.items()}
        return ", ".join(f"{key} {item}" for key, item in told.items() if item)
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(fact_text, value)))
    return (
        "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    )
