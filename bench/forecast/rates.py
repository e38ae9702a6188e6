"""Seconds for a unit of work, measured by earlier runs on this machine and remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from sparsebench.bench.forecast.work import Amounts, units
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.records import Record, Trial

log = logging.getLogger("sparsebench")

KEPT = 5
"""Runs of a cell that are remembered."""


class Key(NamedTuple):
    """What a rate was measured of: whatever changes the seconds of a unit of work.

    Attributes are those of a cell, and of the head and the task as in
    :class:`~sparsebench.bench.forecast.work.Amounts`.
    """

    workload: str
    backbone: str
    engine: str
    device: str
    precision: str
    threads: int
    batch_size: int
    size: int
    solver: str
    strengths: int
    prepared: bool
    task: str
    deterministic: bool


def key_of(cell: Cell, amounts: Amounts) -> Key:
    """Under which the rate of a planned cell is looked up."""
    return Key(
        cell.workload, cell.backbone, cell.engine, cell.device, cell.precision, cell.threads,
        cell.batch_size, cell.size, *_work_of(cell.workload, amounts),
    )  # fmt: skip


def _work_of(workload: str, amounts: Amounts) -> tuple[str, int, bool, str, bool]:
    """The head's part of a key is the same for workloads that have no head on cached features."""
    if workload != "linear-cached":
        return "", 0, False, amounts.task, amounts.deterministic
    return amounts.solver, amounts.strengths, amounts.prepared, amounts.task, False


@dataclass(frozen=True)
class Rate:
    """What one cell costs.

    Attributes:
        stages: stage -> seconds a unit (:func:`bench.forecast.work.units`); ``call`` is the
            seconds of one engine call for ``inference``.
        once: seconds of compiling, for each launch.
        work: units of work that were seen; a rate of many says more than one of few.
        launch: seconds of a training's process beside its clock: start, imports, opening the
            task; None where no run has shown it.
        calibration: seconds in which ``full`` found its fastest way, once a run.
    """

    stages: dict[str, float]
    once: float = 0.0
    work: float = 1.0
    launch: float | None = None
    calibration: float = 0.0


@dataclass
class Rates:
    """Rates by cell, of one machine.

    Attributes:
        known: what was measured -> rate: the middle of the runs that are remembered.
        runs: key -> the rates of the last :data:`KEPT` runs, the newest at the end.
    """

    known: dict[Key, Rate] = field(default_factory=dict)
    runs: dict[Key, list[Rate]] = field(default_factory=dict)

    def learn(self, found: Rates) -> None:
        """Remember what a run showed beside what earlier ones did.

        A run on a busy machine, or one of a handful of pictures, is outvoted: the forecast takes
        the median over runs, weighted by their work.
        """
        for key, rate in found.known.items():
            self.runs[key] = [*self.runs.get(key, ()), rate][-KEPT:]
            self.known[key] = _middle(self.runs[key])

    @classmethod
    def load(cls, path: Path) -> Rates:
        """From a file; empty where there is none, or none that can be read."""
        try:
            lines = json.loads(path.read_text())
            found = cls()
            for line in lines:
                key = Key(*line["key"])
                found.runs[key] = [Rate(**run) for run in line["runs"]]
                found.known[key] = _middle(found.runs[key])
            return found
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the remembered rates in %s cannot be read (%s)", path, error)
            return cls()

    def save(self, path: Path) -> None:
        """To a file, at once; a machine that cannot keep it merely forecasts less well."""
        lines = [
            {"key": list(key), "runs": [asdict(run) for run in self.runs.get(key, [rate])]}
            for key, rate in self.known.items()
        ]
        temporary = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(lines, indent=0))
            temporary.replace(path)
        except OSError as error:
            log.warning("rates cannot be remembered in %s (%s)", path, error)


def _middle(runs: Sequence[Rate]) -> Rate:
    """Stage by stage the median over runs, each counted with its work."""

    def median_of(values: Sequence[float]) -> float:
        pairs = sorted(zip(values, (run.work for run in runs), strict=True))
        half, seen = sum(run.work for run in runs) / 2, 0.0
        for value, work in pairs:
            seen += work
            if seen >= half:
                return value
        return pairs[-1][0]

    names = dict.fromkeys(name for run in runs for name in run.stages)
    seen = [run.launch for run in runs if run.launch is not None]
    return Rate(
        {name: median_of([run.stages.get(name, 0.0) for run in runs]) for name in names},
        median_of([run.once for run in runs]),
        max(run.work for run in runs),
        median(seen) if seen else None,
        median_of([run.calibration for run in runs]),
    )


def rates_path(fingerprint: str) -> Path:
    """Where the rates of a machine are remembered."""
    from sparsebench.models.cache import cache_dir

    return cache_dir("rates") / f"{fingerprint}.v3.json"


def rates_of(records: Sequence[Record], trials: Sequence[Trial] = ()) -> Rates:
    """The rates that finished records show: medians over their blocks.

    Args:
        records: of a run.
        trials: of the run, whose times of day tell what passes between trainings.
    """
    found = Rates()
    between = seconds_between(trials)
    for record in records:
        if record.status != "ok" or not record.trials:
            continue
        if record.workload == "inference":
            call = median(second for trial in record.trials for second in trial.seconds)
            stages, amount = {"call": call}, float(sum(len(t.seconds) for t in record.trials))
        else:
            work = units(record.workload, amounts_of(record))
            stages = {
                name: median(t.stages.get(name, 0.0) for t in record.trials) / unit
                for name, unit in work.items()
                if unit
            }
            amount = sum(work.values())
        compiling = record.extra.get("compile_seconds") or [0.0]
        tuning = record.extra.get("tuning") or ()
        launch = between.get(record.id)
        found.known[key_of_record(record)] = Rate(
            stages,
            float(median(compiling)),
            amount,
            launch=None if launch is None else max(0.0, launch),
            calibration=sum(float(one.get("took") or 0.0) for one in tuning),
        )
    return found


def seconds_between(trials: Sequence[Trial]) -> dict[str, float]:
    """Cell of ``full`` -> seconds of a trial beside its trainings and calibration.

    They are what passes until the next trial of the launch begins: medians over blocks. A
    launch's last trial has no next one.
    """
    launches: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.workload == "full":
            launches.setdefault(trial.launch, []).append(trial)
    found: dict[str, list[float]] = {}
    for group in launches.values():
        for trial, following in pairwise(sorted(group, key=lambda one: one.started)):
            trained = trial.extra.get("seconds_per_seed")
            if trial.status == "failed" or not trained:
                continue
            passed = _moment(following) - _moment(trial)
            took = float((trial.extra.get("tuning") or {}).get("took") or 0.0)
            found.setdefault(trial.cell, []).append(passed - sum(trained) - took)
    return {cell: median(seconds) for cell, seconds in found.items()}


def _moment(trial: Trial) -> float:
    return datetime.fromisoformat(trial.started).timestamp()


def amounts_of(record: Record) -> Amounts:
    """The sizes of a finished record."""
    settings: Mapping[str, Any] = record.settings
    training = settings.get("training") or {}
    return Amounts(
        train=record.task.train or 0,
        test=record.task.test or 0,
        epochs=int(training.get("epochs", settings.get("epochs", 1))),
        seeds=len(settings.get("seeds", (0,))),
        validation=float(settings.get("validation", 0.0)),
        solver=str(settings.get("solver", "sgd")),
        strengths=len(settings.get("weight_decays") or ()),
        prepared=settings.get("pictures") == "prepared",
        task=record.task.sha256 or record.task.name,
        deterministic=bool(settings.get("deterministic", False)),
    )


def key_of_record(record: Record) -> Key:
    """Under which a record's rate is kept."""
    engine = record.engine
    return Key(
        record.workload, record.backbone.name, engine.name, engine.device, engine.precision,
        engine.threads, engine.batch_size, int(record.settings.get("size", 0)),
        *_work_of(record.workload, amounts_of(record)),
    )  # fmt: skip
