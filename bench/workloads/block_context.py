"""What a workload at work is given: cells of a block, and how their trials are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparsebench.bench.clock.alternation import Turns
from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads.features import FeatureCache
from sparsebench.bench.heads.scored import Heads
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import PEAK_MEMORY, Kept, Trial, utc_now
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.workloads.prepared_backbone import Prepared
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.usage import usage_now
from sparsebench.exporters.worker.worker import is_memory_error
from sparsebench.models.errors import SparsebenchError

LOADED, COMPILED, WARM = 0.1, 0.5, 0.6
"""Share of a cell's part of a launch that is done when it is loaded (a training), compiled (a cell
on an engine, whose process had to start) and warm; about those of `quick`."""


@dataclass
class Ready:
    """A cell that is exported and checked.

    Attributes:
        cell: what is measured.
        prepared: the backbone's artifact, images and proofs.
        facts: one-off costs and what the engine reported, for the trial's ``extra``.
    """

    cell: Cell
    prepared: Prepared
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Running(Ready):
    """A cell whose worker is compiled and has passed the verification gate.

    Attributes:
        worker: its fresh process.
    """

    worker: EngineWorker = field(kw_only=True)

    def clock(self) -> StageClock:
        """A clock of work that this process and the worker share; no batch is in flight."""
        return StageClock(used=lambda: usage_now() + self.worker.usage()[0])

    def memory(self) -> dict[str, Any]:
        """Peak resident memory of the worker, for a trial's ``extra``."""
        return {PEAK_MEMORY: self.worker.usage()[1]}


@dataclass(frozen=True)
class BlockContext:
    """What the trials of one block share.

    Attributes:
        run: name of the run.
        plan: the resolved plan.
        task: the opened task.
        block: number of the block, from 0.
        launch: name of this launch (a resumed block has more than one).
        cache: cached features.
        needs_accuracy: whether ``inference`` must find the accuracy itself, by cell id.
        emit: receives every trial as it ends, and writes it to disk.
        say: receives what is being done, for the progress line.
        turns: this run's share of the machine, where another run is measured beside it.
        keep: writes to disk which test images a cell's seeds got right, and says where: for the
            trial's ``extra``.
        earlier: finds the good trials that a cell has in other blocks of this run, oldest first.
        reach: told which share (0-1) of a cell's part of the launch is done.
        heads: cell id -> heads of ``inference`` that were trained beforehand, elsewhere.
    """

    run: str
    plan: Plan
    task: Task
    block: int
    launch: str
    cache: FeatureCache
    needs_accuracy: Callable[[Cell], bool]
    emit: Callable[[Trial], None]
    say: Callable[[str], None]
    turns: Turns = field(default_factory=Turns)
    keep: Callable[[Cell, Kept], Mapping[str, Any]] = lambda cell, outcomes: {}
    earlier: Callable[[Cell], Sequence[Trial]] = lambda cell: ()
    reach: Callable[[Cell, float], None] = lambda cell, share: None
    heads: Mapping[str, Heads] = field(default_factory=dict)

    def say_of(self, cell: Cell) -> Callable[[str], None]:
        """Receives what a cell is doing."""
        return lambda text: self.say(f"{cell.label} · {text}")

    def order(self, count: int, name: str) -> list[int]:
        """The order of ``count`` cells in this block: random, the same for the same seed."""
        return cell_order(self.plan.order_seed, self.block, name, count)


def cell_order(seed: int, block: int, name: str, count: int) -> list[int]:
    """A permutation of ``0 .. count - 1``, its own for each block and workload name."""
    generator = np.random.default_rng([seed, block, *name.encode()])
    return [int(i) for i in generator.permutation(count)]


def make_trial(
    running: Ready,
    context: BlockContext,
    *,
    order: int,
    started: str,
    seconds: Sequence[float] = (),
    warmup: Sequence[float] = (),
    items: int = 0,
    stages: dict[str, float] | None = None,
    accuracy: Sequence[float] | None = None,
    reason: str = "",
    process_seconds: Sequence[float] | None = None,
    run_delay_seconds: Sequence[float | None] | None = None,
    extra: dict[str, Any] | None = None,
) -> Trial:
    """A trial of a running cell; a non-empty ``reason`` makes it a failed one."""
    return failed_or_ok(
        running.cell,
        context,
        order=order,
        started=started,
        seconds=tuple(seconds),
        warmup=tuple(warmup),
        items=items,
        stages=dict(stages or {}),
        accuracy_per_seed=None if accuracy is None else tuple(accuracy),
        reason=reason,
        process_seconds=known(process_seconds),
        run_delay_seconds=known(run_delay_seconds),
        extra={**running.facts, **(extra or {})},
    )


def known(values: Sequence[float | None] | None) -> tuple[float, ...] | None:
    """All values, or None where one of them was not measured."""
    told = [value for value in values or () if value is not None]
    return tuple(told) if values and len(told) == len(values) else None


def failed_or_ok(cell: Cell, context: BlockContext, *, reason: str, **values: Any) -> Trial:
    """A trial of a cell from its values."""
    return Trial(
        cell=cell.id,
        run=context.run,
        block=context.block,
        launch=context.launch,
        workload=cell.workload,
        status="failed" if reason else "ok",
        reason=reason or None,
        **values,
    )


@contextmanager
def failures_become_trials(
    running: Ready, context: BlockContext, order: int, dead: set[str]
) -> Iterator[None]:
    """Turn what goes wrong with one cell into a failed trial; the block goes on.

    Args:
        running: the cell at work.
        context: its block.
        order: its place in the block.
        dead: receives the cell's id, so that later visits leave it out.

    Raises:
        RuntimeError: one that means no lack of memory; a bug of ours keeps its traceback.
    """
    started = utc_now()
    try:
        yield
    except (WorkerFailed, SparsebenchError, OSError) as error:
        reason = str(error) or type(error).__name__
    except (MemoryError, RuntimeError) as error:
        # Heads train in this process, and PyTorch tells a lack of memory by a RuntimeError.
        if not isinstance(error, MemoryError) and not is_memory_error(error):
            raise
        told = str(error).splitlines() or [type(error).__name__]
        reason = f"out of memory: {told[0]}"
    else:
        return
    dead.add(running.cell.id)
    context.emit(make_trial(running, context, order=order, started=started, reason=reason))
