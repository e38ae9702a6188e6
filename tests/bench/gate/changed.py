"""Synthetic runs of another day, as they would be after a true change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparsebench.bench.records import Record, Trial
from tests.bench.conftest import Result
from tests.bench.synthetic import SyntheticRun, make_run

Cli = Callable[..., Result]
SPARSE = "resnet18/acdc-90"
TWO = ("resnet18/dense", SPARSE)
QUIET: dict[str, Any] = {"process": 0.004, "iteration": 0.002}


def again(**changes: Any) -> SyntheticRun:
    """The same machine on another day."""
    return make_run(**{"seed": 2, "backbones": TWO, **QUIET, **changes})


def slowed(run: SyntheticRun, factor: float, which: Callable[[Record], bool]) -> SyntheticRun:
    """The run as it would be had some cells taken longer: in the engine, stage ``extract``."""
    ids = {record.id for record in run.records if which(record)}

    def slow(trial: Trial) -> Trial:
        if trial.cell not in ids:
            return trial
        more = sum(trial.seconds) * (factor - 1)
        stages = {k: v + more if k == "extract" else v for k, v in trial.stages.items()}
        return replace(trial, seconds=tuple(s * factor for s in trial.seconds), stages=stages)

    trials = [slow(trial) for trial in run.trials]
    records = [
        replace(r, trials=tuple(t.times for t in trials if t.cell == r.id)) for r in run.records
    ]
    return SyntheticRun(records, trials)


def check(cli: Cli, run: SyntheticRun, baseline: Path, *options: object) -> Result:
    folder = baseline.parent / "now"
    run.write(folder)
    return cli("check", folder, "--baseline", baseline, *options)


def verdicts(result: Result) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in json.loads(result.out)["verdicts"]}
