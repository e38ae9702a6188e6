"""Seconds for a unit of work, measured by earlier runs on this machine and remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Rate:
    """What one cell costs.

    Attributes:
        stages: stage -> seconds a unit (:func:`bench.forecast.work.units`); ``call`` is the
            seconds of one engine call for ``inference``.
        once: seconds of compiling, for each launch.
    """

    stages: dict[str, float]
    once: float = 0.0


@dataclass
class Rates:
    """Rates by cell, of one machine.

    Attributes:
        known: (workload, backbone, engine, device, precision, threads, batch size, picture
            size) -> rate.
    """

    known: dict[Key, Rate] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Rates:
        """From a file; empty where there is none, or none that can be read."""
        try:
            lines = json.loads(path.read_text())
            return cls({tuple(line["key"]): Rate(line["stages"], line["once"]) for line in lines})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the remembered rates in %s cannot be read (%s)", path, error)
            return cls()

    def save(self, path: Path) -> None:
        """To a file, at once; a machine that cannot keep it merely forecasts less well."""
        lines = [
            {"key": list(key), "stages": rate.stages, "once": rate.once}
            for key, rate in self.known.items()
        ]
        temporary = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(lines, indent=0))
            temporary.replace(path)
        except OSError as error:
            log.warning("rates cannot be remembered in %s (%s)", path, error)


def rates_path(fingerprint: str) -> Path:
    """Where the rates of a machine are remembered."""
    from exporters.cache import cache_dir

    return cache_dir("rates") / f"{fingerprint}.json"


def rates_of(records: Sequence[Record]) -> Rates:
    """The rates that finished records show: medians over their blocks."""
    found = Rates()
    for record in records:
        if record.status != "ok" or not record.trials:
            continue
        if record.workload == "inference":
            call = median(second for trial in record.trials for second in trial.seconds)
            stages = {"call": call}
        else:
            work = units(record.workload, amounts_of(record))
            stages = {
                name: median(t.stages.get(name, 0.0) for t in record.trials) / unit
                for name, unit in work.items()
                if unit
            }
        compiling = record.extra.get("compile_seconds") or [0.0]
        found.known[key_of_record(record)] = Rate(stages, float(median(compiling)))
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
