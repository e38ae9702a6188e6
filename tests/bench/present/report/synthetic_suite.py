"""A synthetic run of 200 cells with known truth: no machine has ever measured these numbers.

2 workloads, 5 tasks, 5 backbones, 4 engines. Ratios are exact but for noise of a tenth of a per
cent, accuracies but for the spread given, so that who must win follows from the tables below.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sparsebench.bench.records import (
    Accuracy,
    BackboneInfo,
    EngineInfo,
    Proof,
    Record,
    TaskInfo,
    TimedBlock,
    Trial,
    cell_id,
)

WORKLOADS = ("inference", "linear-cached")
TASKS = ("synthetic-birds", "synthetic-cars", "synthetic-dtd", "synthetic-food", "synthetic-pets")
# engine -> seconds an image of the dense backbone: openvino is the best dense engine
ENGINES = {"deepsparse": 1.25e-3, "onnxruntime": 1.1e-3, "openvino": 1.0e-3, "torch": 2.0e-3}
# sparse backbone -> (speed-up on deepsparse; elsewhere 1), accuracy change in points
SPARSE = {
    "gmp-80": (2.0, -0.1),
    "acdc-90": (3.0, -0.3),
    "str-95": (4.0, -0.9),
    "magnitude-98": (5.0, -6.0),
}
DENSE_ACCURACY = 0.80
SEEDS = (21, 51, 81, 111, 141)
BLOCKS, CALLS, BATCH, IMAGES = 5, 30, 64, 2000
LICENCES = {
    "deepsparse": ("Neural Magic community licence: evaluation only, not production", "ended"),
    "onnxruntime": ("MIT", "maintained"),
    "openvino": ("Apache-2.0", "maintained"),
    "torch": ("BSD-3", "maintained"),
}
MACHINE = {"fingerprint": "5717e71c5717e71c", "cpu": "Synthetic CPU", "usable_cpus": 8}


@dataclass(frozen=True)
class SyntheticSuite:
    """Records and trials of no machine."""

    records: tuple[Record, ...]
    trials: tuple[Trial, ...] = ()

    def write(self, folder: Path, *, plan: bool = True) -> Path:
        """As a run's folder, in one go."""
        folder.mkdir(parents=True)
        for name, items in (("records", self.records), ("trials", self.trials)):
            lines = [json.dumps(item.to_json(), allow_nan=False) for item in items]
            (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        if plan:
            tasks = json.dumps(sorted({record.task.name for record in self.records}))
            (folder / "plan.toml").write_text(f'name = "synthetic"\ntasks = {tasks}\n')
        return folder

    def changed(self, number: int, **changes: Any) -> SyntheticSuite:
        """The same with one record changed."""
        records = list(self.records)
        records[number] = replace(records[number], **changes)
        return replace(self, records=tuple(records))


def synthetic_suite(
    *,
    run: str = "synthetic-200",
    tasks: Sequence[str] = TASKS,
    workloads: Sequence[str] = WORKLOADS,
    engines: Sequence[str] = tuple(ENGINES),
    sparse: Mapping[str, tuple[float, float]] = SPARSE,
    machine: Mapping[str, Any] = MACHINE,
    blocks: int = BLOCKS,
    seed: int = 0,
) -> SyntheticSuite:
    """The run; by default 2 x 5 x 5 x 4 = 200 cells."""
    rng = np.random.default_rng(seed)
    records = [
        _record(run, workload, task, name, engine, sparse, dict(machine), blocks, rng)
        for workload in workloads
        for task in tasks
        for name in ("dense", *sparse)
        for engine in engines
    ]
    return SyntheticSuite(tuple(records))


def _record(
    run: str,
    workload: str,
    task: str,
    name: str,
    engine: str,
    sparse: Mapping[str, tuple[float, float]],
    machine: dict[str, Any],
    blocks: int,
    rng: np.random.Generator,
) -> Record:
    speedup, change = sparse.get(name, (1.0, 0.0))
    method, _, per_cent = name.partition("-")
    sparsity = float(per_cent or 0) / 100
    seconds = ENGINES[engine] / (speedup if engine == "deepsparse" else 1.0)
    licence, support = LICENCES[engine]
    values = {"workload": workload, "task": task, "backbone": name, "engine": engine}
    spread = np.array([-2, -1, 0, 1, 2]) * (0.0002 if method != "dense" else 0.0)
    accuracy = DENSE_ACCURACY + change / 100 + spread
    return Record(
        id=cell_id(values),
        run=run,
        created="2026-01-02T03:14:05Z",
        workload=workload,
        task=TaskInfo(task, 20, 3000, IMAGES, "top1", "d" * 64),
        backbone=BackboneInfo(
            name=f"resnet50/{name}",
            arch="resnet50",
            method=method,
            family="dense" if method == "dense" else "progressive",
            sparsity=sparsity,
            trained=True,
            measured_sparsity=sparsity,
            flops_ratio=1 - sparsity * 0.9,
            sha256=name.encode().hex().ljust(64, "0"),
            licence="synthetic",
            dense_partner="resnet50/dense",
        ),
        engine=EngineInfo(engine, "cpu", "fp32", 8, BATCH, "1.0", {}, 1.0),
        machine=machine,
        trials=tuple(_times(workload, block, seconds, rng) for block in range(blocks)),
        accuracy=Accuracy.of("top1", [float(value) for value in accuracy], SEEDS),
        proof=Proof("a" * 64, "a" * 64, "a" * 64, 1e-5, 1.0),
        packages={"torch": "2.0", "sparsebench": "0.1.0"},
        settings={"size": 224, "input": "synthetic", "seeds": list(SEEDS)},
        extra={"engine": {"licence": licence, "support": support}},
    )


def _times(workload: str, block: int, seconds: float, rng: np.random.Generator) -> TimedBlock:
    count, items = (CALLS, BATCH) if workload == "inference" else (1, IMAGES)
    samples = items * seconds * np.exp(rng.normal(0, 0.001, count))
    return TimedBlock(
        block=block,
        launch=f"launch-{block}",
        order=0,
        warmup=(),
        seconds=tuple(float(value) for value in samples),
        items=items,
        stages={} if workload == "inference" else {"extract": float(samples[0])},
    )


def discarded(record: Record, *, reason: str, block: int = 0) -> Trial:
    """A trial of a cell that the drift rule has thrown away."""
    return Trial(
        cell=record.id, run=record.run, workload=record.workload, block=block,
        launch="discarded-launch", order=0, warmup=(), seconds=(0.5,), items=BATCH, stages={},
        started="2026-01-02T03:04:05Z", status="discarded", reason=reason,
    )  # fmt: skip
