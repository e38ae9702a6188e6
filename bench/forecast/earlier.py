"""What cells took in earlier runs on this machine, remembered from run to run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from filelock import FileLock

from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.workload import Sizes
from sparsebench.bench.plan.workloads import described, workload_of
from sparsebench.bench.records import Record
from sparsebench.bench.tasks.kinds import CLASSIFICATION, TaskKind
from sparsebench.models.cache import cache_dir

log = logging.getLogger("sparsebench")

KEPT = 5
"""Runs of a cell that are remembered."""
# Recorded settings that stand in the key by themselves, or only say how large the task is.
_NOT_HOW = ("size", "input", "limit")


class Key(NamedTuple):
    """Whatever changes the seconds of a unit of work; `how` is the workload's own settings."""

    workload: str
    backbone: str
    engine: str
    device: str
    precision: str
    threads: int
    batch_size: int
    size: int
    task: str
    how: str


@dataclass(frozen=True)
class Took:
    """One run of a cell: medians over its trials.

    Attributes:
        seconds: what its record times: of a trial, or of an engine call.
        spent: seconds of all that its trial times, warm-up too.
        once: seconds of compiling, for each launch.
        around: its part of whatever else a launch takes (workers, heads), for each launch.
        export: its part of loading, exporting and checking its network, once a run.
        stages: stage -> seconds.
        work: stage -> units of work (:meth:`Workload.work`); a stage without does not grow.
    """

    seconds: float
    spent: float
    once: float
    stages: dict[str, float]
    work: dict[str, float]
    around: float = 0.0
    export: float = 0.0


REST = Key("", "", "", "", "", 0, 0, 0, "", "")
"""Stands for what a run does between its launches: opening tasks, tables, figures, the report."""


@dataclass
class Earlier:
    """The last runs of every cell, the newest at the end.

    Attributes:
        runs: key -> at most :data:`KEPT` runs.
    """

    runs: dict[Key, list[Took]] = field(default_factory=dict)

    def learn(
        self, records: Sequence[Record], walls: Mapping[str, float | None] | None = None
    ) -> None:
        """Remember what the finished cells of a run took.

        Args:
            records: of the run.
            walls: launch -> its seconds, all of it.
        """
        exports = _exports(records, walls or {})
        around = _around(records, walls or {}, exports)
        for record in records:
            if record.status == "ok" and record.trials:
                seconds, sharing, _ = exports.get(_network(record), (0.0, 1, ""))
                took = _took(
                    record, around.get(record.id, 0.0), seconds / sharing if walls else 0.0
                )
                self._add(key_of_record(record), took)

    def learn_rest(self, seconds: float) -> None:
        """Remember what a run took between its launches."""
        self._add(REST, Took(seconds, seconds, 0.0, {}, {}))

    @property
    def rest(self) -> float:
        """Seconds of a run between its launches; 0 where no run is remembered."""
        return median(run.seconds for run in self.runs.get(REST, ())) if REST in self.runs else 0.0

    def _add(self, key: Key, took: Took) -> None:
        self.runs[key] = [*self.runs.get(key, ()), took][-KEPT:]

    @classmethod
    def load(cls, path: Path) -> Earlier:
        """From a file; empty where there is none, or none that can be read."""
        try:
            lines = json.loads(path.read_text())
            return cls({Key(*line["key"]): [Took(**run) for run in line["runs"]] for line in lines})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("what earlier runs took, in %s, cannot be read (%s)", path, error)
            return cls()

    def save(self, path: Path) -> None:
        """To a file, at once.

        Raises:
            OSError: it cannot be written.
        """
        lines = [
            {"key": list(key), "runs": [asdict(run) for run in runs]}
            for key, runs in self.runs.items()
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(lines, indent=0))
        temporary.replace(path)


def remember(
    path: Path,
    records: Sequence[Record],
    walls: Mapping[str, float | None] | None = None,
    rest: float | None = None,
) -> None:
    """Add what the finished cells of a run took to what other runs have written meanwhile.

    A machine that cannot keep it merely forecasts less well.

    Args:
        path: see :func:`earlier_path`.
        records: of the run.
        walls: launch -> its seconds, all of it.
        rest: seconds of the run between its launches.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            earlier = Earlier.load(path)
            earlier.learn(records, walls)
            if rest is not None:
                earlier.learn_rest(rest)
            earlier.save(path)
    except OSError as error:
        log.warning("what this run took cannot be remembered in %s (%s)", path, error)


def earlier_path(fingerprint: str) -> Path:
    """Where the runs of a machine are remembered."""
    return cache_dir("forecast") / f"{fingerprint}.v1.json"


def key_of(plan: Plan, cell: Cell, task: str, on: TaskKind = CLASSIFICATION) -> Key:
    """The key of a planned cell.

    Args:
        plan: the resolved plan.
        cell: one of its cells.
        task: what the task is called, without a limit's suffix.
        on: what kind of task it is.
    """
    kind = workload_of(cell.workload)
    return Key(
        cell.workload, cell.backbone, cell.engine, cell.device, cell.precision, cell.threads,
        cell.batch_size, cell.size, task, _how(kind.counted, kind.recorded_on(plan, cell, on)),
    )  # fmt: skip


def key_of_record(record: Record) -> Key:
    """The key of a recorded cell."""
    engine, limit = record.engine, record.settings.get("limit")
    return Key(
        record.workload, record.backbone.name, engine.name, engine.device, engine.precision,
        engine.threads, engine.batch_size, int(record.settings.get("size", 0)),
        record.task.name.removesuffix(f":{limit}"),
        _how(described(record.workload).counted, record.settings),
    )  # fmt: skip


def _how(counted: tuple[str, ...], recorded: Mapping[str, Any]) -> str:
    own = {k: v for k, v in recorded.items() if k not in counted and k not in _NOT_HOW}
    return json.dumps(own, sort_keys=True)


def _network(record: Record) -> tuple[str, str, int, int]:
    size = int(record.settings.get("size", 0))
    return record.task.name, record.backbone.name, size, record.engine.batch_size


def _exports(
    records: Sequence[Record], walls: Mapping[str, float | None]
) -> dict[tuple[str, str, int, int], tuple[float, int, str]]:
    """Network -> seconds of its export, records that share it, the launch that waited for it."""
    order = {launch: number for number, launch in enumerate(walls)}
    found: dict[tuple[str, str, int, int], tuple[float, int, str]] = {}
    for record in records:
        seconds = record.extra.get("export_seconds") or []
        if not seconds or not record.trials or record.trials[0].launch not in order:
            continue
        network, launch = _network(record), record.trials[0].launch
        before, sharing, first = found.get(network, (float(seconds[0]), 0, launch))
        if order[launch] < order[first]:
            before, first = float(seconds[0]), launch
        found[network] = (before, sharing + 1, first)
    return found


def _around(
    records: Sequence[Record],
    walls: Mapping[str, float | None],
    exports: Mapping[tuple[str, str, int, int], tuple[float, int, str]],
) -> dict[str, float]:
    """Record id -> its mean part of a launch that no trial, compiling and export holds."""
    shared: dict[str, list[str]] = {}
    rest = {launch: wall for launch, wall in walls.items() if wall is not None}
    for seconds, _, launch in exports.values():
        if launch in rest:
            rest[launch] -= seconds
    for record in records:
        compiled = record.extra.get("compile_seconds") or []
        # A trial that trains several seeds gives the seconds of one.
        seeds = len(record.settings.get("seeds", ())) / max(1, len(record.trials))
        times = max(1.0, seeds) if described(record.workload).deals_seeds else 1.0
        for i, trial in enumerate(record.trials):
            if trial.launch in rest:
                shared.setdefault(trial.launch, []).append(record.id)
                once = float(compiled[i]) if i < len(compiled) else 0.0
                rest[trial.launch] -= times * (sum(trial.seconds) + sum(trial.warmup)) + once
    parts: dict[str, list[float]] = {}
    for launch, ids in shared.items():
        for one in ids:
            parts.setdefault(one, []).append(max(0.0, rest[launch]) / len(ids))
    return {one: fmean(seconds) for one, seconds in parts.items()}


def _took(record: Record, around: float, export: float) -> Took:
    sizes = Sizes(
        record.task.train or 0, record.task.test or 0, len(record.settings.get("seeds", (0,)))
    )
    names = dict.fromkeys(name for trial in record.trials for name in trial.stages)
    return Took(
        seconds=median(median(trial.seconds) for trial in record.trials),
        spent=median(sum(trial.seconds) + sum(trial.warmup) for trial in record.trials),
        once=float(median(record.extra.get("compile_seconds") or [0.0])),
        stages={n: median(t.stages.get(n, 0.0) for t in record.trials) for n in names},
        work=described(record.workload).work(record.settings, sizes),
        around=around,
        export=export,
    )
