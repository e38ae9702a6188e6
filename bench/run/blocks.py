"""Blocks: one launch of fresh workers, verified, measured in turns, closed again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from sparsebench.bench.machine.hardware import openmp_runtimes
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.records import utc_now
from sparsebench.bench.workloads import WORKLOADS
from sparsebench.bench.workloads.base import BlockContext, Ready, Running, failed_or_ok
from sparsebench.bench.workloads.prepared_backbone import Prepared
from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.verify import check_outputs
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.launch import ENGINES, start_worker
from sparsebench.models.errors import SparsebenchError

Prepare = Callable[[Cell], Prepared]
log = logging.getLogger("sparsebench")


def run_block(cells: Sequence[Cell], prepare: Prepare, context: BlockContext) -> None:
    """Launch the cells' workers, pass the gate, run every workload, emit the trials.

    Cells that differ only in their workload share a worker. Whatever goes wrong with a
    cell becomes a failed trial with its reason.
    """
    workloads = {name: WORKLOADS.load(name)() for name in dict.fromkeys(c.workload for c in cells)}
    on_engines = {n: w for n, w in workloads.items() if hasattr(w, "run_block")}
    with ExitStack() as stack:
        chosen = [cell for cell in cells if cell.workload in on_engines]
        running = _launch(chosen, prepare, context, stack) if chosen else []
        for name, workload in on_engines.items():
            mine = [one for one in running if one.cell.workload == name]
            if mine:
                workload.run_block(mine, context)
    # The engines' processes are gone: training has the machine for itself.
    for name, workload in workloads.items():
        if name not in on_engines:
            ready = _prepared([cell for cell in cells if cell.workload == name], prepare, context)
            if ready:
                workload.train_block(ready, context)


def _prepared(cells: Sequence[Cell], prepare: Prepare, context: BlockContext) -> list[Ready]:
    """Cells whose backbone could be loaded and checked; the others are emitted as failed."""
    ready = []
    for cell in cells:
        try:
            prepared = prepare(cell)
        except SparsebenchError as failure:
            _emit_failed(cell, str(failure), context)
            continue
        ready.append(Ready(cell, prepared, {"export_seconds": prepared.export_seconds}))
    return ready


def _launch(
    cells: Sequence[Cell], prepare: Prepare, context: BlockContext, stack: ExitStack
) -> list[Running]:
    """Workers for all cells; those that fail are emitted as failed trials and left out."""
    sharing: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        sharing.setdefault(cell.worker, []).append(cell)
    workers: dict[tuple[str, str, str], EngineWorker] = {}
    failures: dict[tuple[str, str, str], str] = {}
    # All are started first, so that slow imports overlap; compiling is one at a time,
    # because some engines decide by timing while they compile.
    for key, (cell, *_) in sharing.items():
        context.say(f"starting {cell.engine_label} for {cell.backbone}")
        try:
            worker = start_worker(
                cell.engine,
                threads=cell.threads,
                python=cell.settings.python,
                call_timeout=context.plan.call_timeout,
                progress=context.say,
            )
            workers[key] = stack.enter_context(worker)
            worker.ask_available()
        except WorkerFailed as failure:
            failures[key] = failure.reason
    running = []
    for key, (cell, *others) in sharing.items():
        if key in failures:
            continue
        try:
            context.say(f"compiling {cell.backbone} for {cell.engine_label}")
            prepared = prepare(cell)
            facts = _compile(workers[key], cell, prepared)
        except Exception as failure:  # any engine or network may break in its own way
            if not isinstance(failure, WorkerFailed | SparsebenchError):
                log.exception("%s on %s", cell.backbone, cell.engine)
            failures[key] = _reason(failure)
            workers[key].close()  # a broken or refused session must not idle beside the others
            continue
        running += [Running(one, prepared, facts, worker=workers[key]) for one in (cell, *others)]
    for key, reason in failures.items():
        for cell in sharing[key]:
            _emit_failed(cell, reason, context)
    return running


def _emit_failed(cell: Cell, reason: str, context: BlockContext) -> None:
    context.emit(
        failed_or_ok(
            cell,
            context,
            reason=reason,
            order=0,
            started=utc_now(),
            seconds=(),
            warmup=(),
            items=0,
            stages={},
            accuracy_per_seed=None,
            extra={},
        )
    )


def _compile(worker: EngineWorker, cell: Cell, prepared: Prepared) -> dict[str, Any]:
    """Compile and verify one session; returns its facts.

    Raises:
        WorkerFailed: the engine is not available, refuses, dies, or computes wrongly.
    """
    available = worker.answer_available()
    if not available.ok:
        raise WorkerFailed("engine", f"{available.reason} {available.mend}".strip())
    request = CompileRequest(
        batch_size=cell.batch_size,
        threads=cell.threads,
        precision=cell.precision,
        device=cell.device,
        options=dict(cell.settings.options),
    )
    form = getattr(ENGINES.load(cell.engine), "int8_form", "qdq")
    artifact = prepared.artifact_for(cell.precision, form)
    answer = worker.compile(artifact, request)
    outputs = worker.run(prepared.images)
    verdict = check_outputs(
        prepared.backbone, prepared.artifact, prepared.reference, outputs, cell.precision
    )
    if not verdict.ok:
        raise WorkerFailed("engine", f"verification failed: {verdict.reason}")
    return {
        "compile_seconds": float(answer["seconds"]),
        "export_seconds": prepared.export_seconds,
        "engine": {**available.to_json(), "describe": answer["describe"]},
        "affinity": answer["affinity"],
        "openmp": openmp_runtimes(worker.pid),
        "verification": verdict.to_json(),
        "quantisation": artifact.facts.get("quantisation"),
    }


def _reason(failure: Exception) -> str:
    """One sentence for the record, whatever was raised."""
    if isinstance(failure, WorkerFailed):
        return failure.reason
    text = str(failure).strip().splitlines()
    return text[0] if text else type(failure).__name__
