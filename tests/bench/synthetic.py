"""Synthetic runs with known true ratios: 4 backbones, 3 engines, 2 workloads.

Times carry a drift common to a block, an effect of each process and noise of each iteration;
only the drift cancels within a block.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.report.markdown import markdown_page
from sparsebench.bench.records import (
    Accuracy,
    BackboneInfo,
    EngineInfo,
    Proof,
    Record,
    RunFolder,
    TaskInfo,
    Trial,
    cell_id,
)
from sparsebench.bench.records.checksum import sealed
from sparsebench.bench.records.folder import RECORDS, TRIALS
from sparsebench.bench.records.jsonl import append_bytes
from sparsebench.bench.records.schema import Kind, validate

ENGINES = ("deepsparse", "onnxruntime", "torch")
WORKLOADS = ("inference", "linear-cached")
SEEDS = (21, 51, 81)
IMAGES = 1797
BATCH = 64
CALLS = 30

# seconds an image of the dense backbone: onnxruntime is the best dense engine
DENSE_SECONDS = {"deepsparse": 1.1e-3, "onnxruntime": 1.0e-3, "torch": 1.6e-3}
# speed-up of the extraction by sparsity, by backbone and engine
SPEEDUP = {
    "resnet18/dense": {"deepsparse": 1.0, "onnxruntime": 1.0, "torch": 1.0},
    "resnet18/magnitude-50": {"deepsparse": 1.3, "onnxruntime": 1.0, "torch": 1.0},
    "resnet18/acdc-90": {"deepsparse": 4.0, "onnxruntime": 1.0, "torch": 1.0},
    "resnet18/erk-90@generated": {"deepsparse": 3.2, "onnxruntime": 1.0, "torch": 0.8},
}
BACKBONES = tuple(SPEEDUP)
ACCURACY = {
    "resnet18/dense": 0.912,
    "resnet18/magnitude-50": 0.893,
    "resnet18/acdc-90": 0.905,
    "resnet18/erk-90@generated": 0.62,
}
FLOPS_RATIO = {
    "resnet18/dense": 1.0,
    "resnet18/magnitude-50": 0.55,
    "resnet18/acdc-90": 0.16,
    "resnet18/erk-90@generated": 0.24,
}
# seconds of linear-cached that sparsity does not touch
OTHER_STAGES = {"load": 0.05, "decode": 0.1, "train": 0.2, "evaluate": 0.05}
MACHINE = {"fingerprint": "0123456789abcdef", "cpu": "Test CPU", "usable_cpus": 2}


@dataclass(frozen=True)
class SyntheticRun:
    """Records and trials, with the truth behind them."""

    records: list[Record]
    trials: list[Trial]

    def record(self, workload: str, backbone: str, engine: str) -> Record:
        """The record of a cell."""
        return next(
            r
            for r in self.records
            if (r.workload, r.backbone.name, r.engine.name) == (workload, backbone, engine)
        )

    def write(self, path: Path) -> RunFolder:
        """As a run's folder on disk."""
        # Each file at once: a run waits for the disk after each line, which adds up in tests.
        RunFolder.open(path).close()
        _write("trial", path / TRIALS, self.trials)
        _write("record", path / RECORDS, self.records)
        return RunFolder.reading(path)

    def markdown(self) -> str:
        """The run's report as Markdown, which is its summary.md."""
        with TemporaryDirectory() as folder:
            return markdown_page(build_report([self.write(Path(folder) / "R").path]))

    def replaced(self, record: Record, **changes: Any) -> SyntheticRun:
        """The same run with one record changed."""
        records = [replace(r, **changes) if r is record else r for r in self.records]
        return SyntheticRun(records, self.trials)


def _write(kind: Kind, path: Path, items: Sequence[Trial] | Sequence[Record]) -> None:
    lines = [item.to_json() for item in items]
    for line in lines:
        validate(kind, line, f"A new line of {path.name}")
    append_bytes(path, b"".join(map(sealed, lines)))


def true_seconds(workload: str, backbone: str, engine: str) -> float:
    """Seconds an image (inference) or end to end (linear-cached)."""
    extract = DENSE_SECONDS[engine] / SPEEDUP[backbone][engine]
    if workload == "inference":
        return extract
    return extract * IMAGES + sum(OTHER_STAGES.values())


def true_speedup(workload: str, backbone: str, engine: str) -> float:
    """Against the dense backbone on the same engine."""
    dense = true_seconds(workload, "resnet18/dense", engine)
    return dense / true_seconds(workload, backbone, engine)


def true_total(workload: str, backbone: str, engine: str) -> float:
    """Against the dense backbone on onnxruntime, its best engine."""
    dense = true_seconds(workload, "resnet18/dense", "onnxruntime")
    return dense / true_seconds(workload, backbone, engine)


def make_run(
    *,
    seed: int = 0,
    blocks: int = 5,
    process: float = 0.02,
    iteration: float = 0.005,
    run: str = "synthetic",
    failed: Collection[tuple[str, str, str]] = (),
    backbones: Collection[str] = BACKBONES,
    engines: Collection[str] = ENGINES,
    workloads: Collection[str] = WORKLOADS,
    threads: int = 2,
    machine: dict[str, Any] = MACHINE,
) -> SyntheticRun:
    """Simulate a run.

    Args:
        seed: of all noise.
        blocks: launches.
        process: relative effect of a process, standard deviation.
        iteration: relative noise of an iteration, standard deviation.
        run: its name.
        failed: (workload, backbone, engine) that could not run.
        backbones: to measure, like the two after it.
        engines: to measure.
        workloads: to measure.
        threads: of every cell.
        machine: its facts.
    """
    rng = np.random.default_rng(seed)
    drift = np.exp(rng.normal(0, 0.05, blocks))
    records, trials = [], []
    for workload in workloads:
        for backbone in backbones:
            for engine in engines:
                cell = _cell(workload, backbone, engine, threads)
                here: list[Trial] = []
                if (workload, backbone, engine) not in failed:
                    here = [
                        _trial(
                            cell, run, workload, backbone, engine, block,
                            drift[block] * np.exp(rng.normal(0, process)), iteration, rng,
                        )
                        for block in range(blocks)
                    ]  # fmt: skip
                trials += here
                records.append(
                    _record(cell, run, workload, backbone, engine, here, threads, machine, rng)
                )
    trials.sort(key=lambda trial: trial.block)
    return SyntheticRun(records, trials)


def many_tasks(count: int) -> SyntheticRun:
    """A run on so many tasks: 24 records each."""
    records: list[Record] = []
    trials: list[Trial] = []
    for number in range(count):
        run = make_run(seed=number, blocks=3)
        task = replace(run.records[0].task, name=f"task-{number}", sha256=f"{number:064x}")
        ids = {r.id: cell_id({"task": number, "cell": r.id}) for r in run.records}
        records += [replace(r, id=ids[r.id], task=task) for r in run.records]
        trials += [replace(trial, cell=ids[trial.cell]) for trial in run.trials]
    return SyntheticRun(records, trials)


def _cell(workload: str, backbone: str, engine: str, threads: int) -> str:
    return cell_id(
        {"workload": workload, "backbone": backbone, "engine": engine, "threads": threads}
    )


def _trial(
    cell: str,
    run: str,
    workload: str,
    backbone: str,
    engine: str,
    block: int,
    factor: float,
    iteration: float,
    rng: np.random.Generator,
) -> Trial:
    seconds = true_seconds(workload, backbone, engine) * factor
    stages: dict[str, float] = {}
    if workload == "inference":
        samples = BATCH * seconds * np.exp(rng.normal(0, iteration, CALLS))
        warmup = BATCH * seconds * np.array([1.9, 1.2, 1.05])
    else:
        samples = np.array([seconds * np.exp(rng.normal(0, iteration))])
        warmup = np.array([])
        scale = samples[0] / true_seconds(workload, backbone, engine)
        extract = true_seconds("inference", backbone, engine) * IMAGES
        stages = {k: v * scale for k, v in {"extract": extract, **OTHER_STAGES}.items()}
    return Trial(
        cell=cell,
        run=run,
        workload=workload,
        block=block,
        launch=f"launch-{block}",
        order=int(rng.integers(0, 8)),
        warmup=tuple(float(value) for value in warmup),
        seconds=tuple(float(value) for value in samples),
        items=BATCH if workload == "inference" else IMAGES,
        stages=stages,
        started="2026-01-02T03:04:05.678Z",
        accuracy_per_seed=None if workload == "inference" else _accuracies(backbone),
    )


@cache
def _accuracies(backbone: str) -> tuple[float, ...]:
    """The same in every block: the seeds fix everything."""
    rng = np.random.default_rng([*backbone.encode()])
    common = np.random.default_rng(7).normal(0, 0.004, len(SEEDS))
    return tuple(float(ACCURACY[backbone] + shared + rng.normal(0, 0.001)) for shared in common)


def _record(
    cell: str,
    run: str,
    workload: str,
    backbone: str,
    engine: str,
    trials: list[Trial],
    threads: int,
    machine: dict[str, Any],
    rng: np.random.Generator,
) -> Record:
    dense = backbone.endswith("/dense")
    generated = backbone.endswith("@generated")
    method = backbone.split("/")[1].split("-")[0]
    family = {"dense": "dense", "magnitude": "one-shot", "acdc": "regularization"}
    sparsity = {"magnitude": 0.5}.get(method, 0.0 if dense else 0.9)
    accuracy = None
    if trials and workload == "linear-cached":
        accuracy = Accuracy.of("top1", _accuracies(backbone), SEEDS)
    return Record(
        id=cell,
        run=run,
        created="2026-01-02T03:14:05Z",
        workload=workload,
        status="ok" if trials else "failed",
        reason=None if trials else "The worker ended with signal 11 (segmentation fault).",
        task=TaskInfo("digits", 10, 1437, 360, "top1", "d" * 64),
        backbone=BackboneInfo(
            name=backbone,
            arch="resnet18",
            method=method,
            family=family.get(method, "generated"),
            sparsity=sparsity,
            trained=not generated,
            measured_sparsity=sparsity,
            flops_ratio=FLOPS_RATIO[backbone],
            sha256="b" * 64,
            licence="Apache-2.0",
            dense_partner="resnet18/dense",
        ),
        engine=EngineInfo(
            name=engine,
            version="1.0",
            device="cpu",
            precision="fp32",
            threads=threads,
            batch_size=BATCH,
            supported_fraction=1.0,
        ),
        machine=dict(machine),
        trials=tuple(trial.times for trial in trials),
        accuracy=accuracy,
        proof=Proof("a" * 64, "a" * 64, "a" * 64, 1e-5, 1.0) if trials else None,
        packages={"torch": "2.0"},
        settings={"size": 64, "input": "real pictures", "seeds": list(SEEDS), "solver": "sgd"},
    )
