"""Runs that measured cells of the paper, with a known distance from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparsebench.bench.decide import RunData
from sparsebench.bench.paper.transfer_cells import Cell, paper_cells
from sparsebench.bench.records import (
    Accuracy,
    BackboneInfo,
    EngineInfo,
    Record,
    TaskInfo,
    TimedBlock,
    cell_id,
)
from sparsebench.bench.tasks.known_tasks import PAPER_TASKS
from tests.bench.synthetic import MACHINE

WORKLOADS = {"linear": "linear-cached", "full": "full"}
SEEDS = (1, 2, 3)


def record_of(
    cell: Cell,
    off: float = 0.0,
    *,
    workload: str = "",
    task: str = "",
    metric: str = "",
    trained: bool = True,
    epoch_seconds: float | None = None,
    variant: str = "",
) -> Record:
    """A record of one of the paper's cells, so many points off it."""
    model = cell.model
    dense = model.method == "dense"
    recipe = model.method if dense else f"{model.method}-{100 * model.sparsity:g}"
    name = f"{model.arch}/{recipe}{variant}@paper"
    metric = metric or PAPER_TASKS[cell.task].metric
    accuracies = [(cell.mean + off + spread) / 100 for spread in (-0.1, 0.0, 0.1)]
    workload = workload or WORKLOADS[cell.transfer]
    task = task or cell.task
    extra: dict[str, Any] = {}
    if epoch_seconds is not None:
        extra["curves"] = {
            str(seed): [
                [epoch_seconds * (1 + 0.01 * seed) * epoch, 1.0, 0.5] for epoch in (1, 2, 3)
            ]
            for seed in SEEDS
        }
    return Record(
        id=cell_id({"name": name, "workload": workload, "task": task, "off": off}),
        run="ours",
        created="2026-01-02T03:14:05Z",
        workload=workload,
        task=TaskInfo(task, PAPER_TASKS[cell.task].classes, 10, 10, metric, "d" * 64),
        backbone=BackboneInfo(
            name=name,
            arch="resnet50_rigl" if model.method.startswith("rigl") else model.arch,
            method=model.method,
            family="dense" if dense else "regularization",
            sparsity=model.sparsity,
            trained=trained,
            dense_partner=f"{model.arch}/dense@paper",
        ),
        engine=EngineInfo("torch", "cpu", "fp32", 2, 64, version="1.0"),
        machine=dict(MACHINE),
        trials=(TimedBlock(0, "a", 0, (), (1.0,), 10, {}),),
        accuracy=Accuracy.of(metric, accuracies, SEEDS),
        extra=extra,
    )


def run_beside_the_paper(
    off: Mapping[str, float],
    tasks: Sequence[str] = ("cars", "pets", "dtd", "flowers102", "aircraft"),
    transfers: Sequence[str] = ("linear", "full"),
    arch: str = "resnet50",
) -> RunData:
    """Dense as in the paper, the methods of `off` so many points off it, on some of its tasks."""
    wanted = {"dense": 0.0, **off}
    return RunData.of(
        "ours",
        [
            record_of(cell, wanted[cell.model.method])
            for cell in paper_cells()
            if cell.model.arch == arch
            and cell.task in tasks
            and cell.transfer in transfers
            and cell.model.method in wanted
        ],
    )
