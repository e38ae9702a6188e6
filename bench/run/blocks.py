"""Blocks: one launch of fresh workers, verified, measured in turns, closed again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.optional_engines import optional_of
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.records import utc_now
from sparsebench.bench.run.heat import skipped_trial
from sparsebench.bench.workloads.block_context import (
    COMPILED,
    LOADED,
    BlockContext,
    Ready,
    Running,
    failed_or_ok,
)
from sparsebench.bench.workloads.prepared_backbone import Prepared
from sparsebench.bench.workloads.session import compile_session
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.launch import start_worker
from sparsebench.models.errors import SparsebenchError

Prepare = Callable[[Cell], Prepared]
log = logging.getLogger("sparsebench")


def run_block(cells: Sequence[Cell], prepare: Prepare, context: BlockContext) -> None:
    """Launch the cells' workers, pass the gate, run every workload, emit the trials.

    Cells that differ only in their workload share a worker, if they run the same of the network.
    Whatever goes wrong with a cell becomes a failed trial with its reason.
    """
    workloads: dict[str, Any] = {
        name: workload_of(name)() for name in dict.fromkeys(cell.workload for cell in cells)
    }
    on_engines = {n: w for n, w in workloads.items() if hasattr(w, "run_block")}
    with ExitStack() as stack:
        chosen = [cell for cell in cells if cell.workload in on_engines]
        running = start_sessions(chosen, prepare, context, stack) if chosen else []
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
        except Exception as failure:  # any network may break in its own way
            if not isinstance(failure, SparsebenchError):
                log.exception("%s", cell.backbone)
            _emit_failed(cell, _reason(failure), context)
            continue
        ready.append(Ready(cell, prepared, {"export_seconds": prepared.export_seconds}))
        context.reach(cell, LOADED)
    return ready


def start_sessions(
    cells: Sequence[Cell], prepare: Prepare, context: BlockContext, stack: ExitStack
) -> list[Running]:
    """Workers for all cells; those that fail are emitted as failed trials and left out.

    An optional engine (``native:int8?``) that has no kernels for a network is skipped instead.
    """
    sharing: dict[tuple[str | int, ...], list[Cell]] = {}
    for cell in cells:
        part = workload_of(cell.workload).part_of(context.task.kind)
        sharing.setdefault((*cell.worker, part), []).append(cell)
    workers: dict[tuple[str | int, ...], EngineWorker] = {}
    optional, unfit = optional_of(context.plan), set[tuple[str | int, ...]]()
    failures: dict[tuple[str | int, ...], str] = {}
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
                progress=partial(_making, context, cell.engine),
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
            facts = compile_session(workers[key], cell, prepared)
        except Exception as failure:  # any engine or network may break in its own way
            if not isinstance(failure, WorkerFailed | SparsebenchError):
                log.exception("%s on %s", cell.backbone, cell.engine)
            failures[key] = _reason(failure)
            if isinstance(failure, WorkerFailed) and failure.kind == "network":
                unfit.add(key)
            workers[key].close()  # a broken or refused session must not idle beside the others
            continue
        running += [Running(one, prepared, facts, worker=workers[key]) for one in (cell, *others)]
        for one in (cell, *others):
            context.reach(one, COMPILED)
    for key, reason in failures.items():
        for cell in sharing[key]:
            if key in unfit and (cell.engine, cell.precision) in optional:
                context.emit(skipped_trial(cell, context.run, {"reason": reason}))
            else:
                _emit_failed(cell, reason, context)
    return running


def _making(context: BlockContext, engine: str, line: str) -> None:
    """What a run says while an engine is installed: no line of the installer's."""
    log.info("%s: %s", engine, line)
    context.say(f"making {engine}'s environment")


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


def _reason(failure: Exception) -> str:
    """One sentence for the record, whatever was raised."""
    if isinstance(failure, WorkerFailed):
        return failure.reason
    text = str(failure).strip().splitlines()
    return text[0] if text else type(failure).__name__
