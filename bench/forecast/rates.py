"""Seconds for a unit of work, measured by earlier runs on this machine and remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.forecast.work import Amounts, units
from bench.records import Record

log = logging.getLogger("sparsebench")

Key = tuple[Any, ...]
_FIELDS = (
    "workload", "backbone", "engine", "device", "precision", "threads", "batch_size", "size",
)  # fmt: skip


KEPT = 5
"""Runs of a cell that are remembered."""


@dataclass(frozen=True)
class Rate:
    """What one cell costs.

    Attributes:
        stages: stage -> seconds a unit (:func:`bench.forecast.work.units`); ``call`` is the
            seconds of one engine call for ``inference``.
        once: seconds of compiling, for each launch.
        work: units of work that were seen; a rate of many says more than one of few.
    """

    stages: dict[str, float]
    once: float = 0.0
    work: float = 1.0


@dataclass
class Rates:
    """Rates by cell, of one machine.

    Attributes:
        known: (workload, backbone, engine, device, precision, threads, batch size, picture
            size) -> rate: the middle of the runs that are remembered.
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
                key = tuple(line["key"])
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
    return Rate(
        {name: median_of([run.stages.get(name, 0.0) for run in runs]) for name in names},
        median_of([run.once for run in runs]),
        max(run.work for run in runs),
    )


def rates_path(fingerprint: str) -> Path:
    """Where the rates of a machine are remembered."""
    from exporters.cache import cache_dir

    return cache_dir("rates") / f"{fingerprint}.v2.json"


def rates_of(records: Sequence[Record]) -> Rates:
    """The rates that finished records show: medians over their blocks."""
    found = Rates()
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
        found.known[key_of_record(record)] = Rate(stages, float(median(compiling)), amount)
    return found


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
    )


def key_of_record(record: Record) -> Key:
    """Under which a record's rate is kept."""
    engine = record.engine
    return (
        record.workload,
        record.backbone.name,
        engine.name,
        engine.device,
        engine.precision,
        engine.threads,
        engine.batch_size,
        record.settings.get("size"),
    )
