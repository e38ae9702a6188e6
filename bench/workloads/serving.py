"""``serving``: how long requests wait, with several streams and at an offered load.

A request is one engine call at the cell's batch size. With ``streams`` the cell's threads are
shared out among as many sessions, each in a process and on processors of its own, so that so many
requests are served at once. With ``rate`` requests come in at that rate, as a Poisson process
with a fixed seed, and their latency counts from their arrival; without, every stream sends one
request after the other. Each cell has the machine for itself, in a random order; the clock is the
one that a client has, outside of the engine's process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sparsebench.bench.plan.settings import Settings, at_least
from sparsebench.bench.plan.workload import Workload
from sparsebench.bench.statistics.quantiles import least_samples
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.bench.plan.plan import Plan
    from sparsebench.bench.records import Trial
    from sparsebench.bench.workloads.block_context import BlockContext, Ready
    from sparsebench.exporters.worker.client import EngineWorker

WARMUP_CALLS = 10
TAIL = 0.99
"""The quantile that a run must have requests enough for."""
MOST_TIMES = 10
"""So many times the asked seconds at most are spent on that."""
SERVED = "serving"
"""Key of a trial's ``extra``: rates and what became of the requests."""
OVERLOADED = "overloaded"
"""Key of a record's ``extra``: whether requests were given up in any block."""


@dataclass(frozen=True)
class ServingSettings(Settings):
    """Requests to several streams, at an offered load.

    Attributes:
        streams: sessions that serve at once; they share the cell's threads.
        rate: requests a second that arrive; 0: every stream sends one after the other.
        seconds: how long requests are sent in each block, and on until the blocks together have
            enough of them for an interval of p99, but no longer than ten times so long. After
            `seconds` more those that still wait are given up.
        seed: of the arrivals.
    """

    streams: int = 1
    rate: float = 0.0
    seconds: float = 5.0
    seed: int = 0

    def check(self) -> None:
        """As :meth:`Settings.check`."""
        at_least("streams", self.streams, 1)
        at_least("rate", self.rate, 0)
        at_least("seed", self.seed, 0)
        at_least("seconds", self.seconds, 0)


class Serving(Workload):
    """Latency of requests."""

    name = "serving"
    usual_seconds = 6.0
    caption: ClassVar[str] = (
        "seconds: median latency of a request (a full batch), from its arrival to its answer."
    )
    settings = ServingSettings
    runs = "whole"
    borrows_accuracy = True
    engine_alone = True
    takes_requests = True

    @classmethod
    def facts(cls, plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
        """As :meth:`Workload.facts`: what each block offered and served."""
        told = [trial.extra[SERVED] for trial in trials if SERVED in trial.extra]
        return {SERVED: told, OVERLOADED: any(one["unanswered"] for one in told)}

    def train_block(self, ready: Sequence[Ready], context: BlockContext) -> None:
        """One trial of every cell, when the other engines' processes of the block are gone."""
        from sparsebench.bench.workloads.block_context import failures_become_trials

        dead: set[str] = set()
        context.turns.begin()
        for place, index in enumerate(context.order(len(ready), self.name)):
            one = ready[index]
            context.say(one.cell.label)
            context.turns.pass_on()
            with failures_become_trials(one, context, place, dead), ExitStack() as stack:
                context.emit(_trial(one, context, place, stack))
        context.turns.end()


def _trial(one: Ready, context: BlockContext, place: int, stack: ExitStack) -> Trial:
    from sparsebench.bench.machine.energy import joules_per_image, read_energy
    from sparsebench.bench.records import PEAK_MEMORY, VISITS, utc_now
    from sparsebench.bench.workloads.block_context import known, make_trial
    from sparsebench.bench.workloads.load import Duration, arrivals, back_to_back, offer

    own = context.plan.section(Serving.name, ServingSettings)
    started = utc_now()
    workers = _start(one, own.streams, context, stack)
    slots = [worker.load(one.prepared.images) for worker in workers]
    pairs = list(zip(workers, slots, strict=True))
    warmup = [
        second
        for worker, slot in pairs
        for second in worker.time(slot, calls=WARMUP_CALLS, budget=0, most=WARMUP_CALLS)
    ]
    requests = [lambda worker=worker, slot=slot: worker.call(slot) for worker, slot in pairs]
    energy, before = read_energy(), [worker.usage()[0] for worker in workers]
    enough = math.ceil(least_samples(TAIL) / context.plan.repeats)
    duration = Duration(own.seconds, enough, MOST_TIMES * own.seconds)
    if own.rate:
        moments = arrivals(own.rate, duration, own.seed)
        load = offer(requests, moments, patience=own.seconds)
    else:
        load = back_to_back(requests, duration)
    after = [worker.usage() for worker in workers]
    spent = [now.since(then) for (now, _), then in zip(after, before, strict=True)]
    waited = known([delay for _, delay in spent])
    count = len(load.latencies)
    return make_trial(
        one,
        context,
        order=place,
        started=started,
        seconds=load.latencies,
        warmup=warmup,
        items=one.cell.batch_size,
        process_seconds=[sum(process for process, _ in spent)],
        run_delay_seconds=None if waited is None else [sum(waited)],
        extra={
            VISITS: [count],
            PEAK_MEMORY: sum(peak for _, peak in after),
            **joules_per_image(energy, (count - load.unanswered) * one.cell.batch_size),
            SERVED: {
                "streams": own.streams,
                "threads_per_stream": workers[0].threads,
                "rate": own.rate or None,
                "requests": count,
                "unanswered": load.unanswered,
                "served_per_second": load.served_per_second,
            },
        },
    )


def _start(one: Ready, streams: int, context: BlockContext, stack: ExitStack) -> list[EngineWorker]:
    """Fresh workers on processors of their own, compiled and verified.

    Raises:
        SparsebenchError: the threads cannot be shared out evenly.
        WorkerFailed: one of them does not come up.
    """
    from sparsebench.bench.workloads.session import compile_session
    from sparsebench.exporters.worker.launch import start_worker

    cell = one.cell
    if cell.threads % streams:
        raise SparsebenchError(
            f"{cell.threads} threads cannot be shared out evenly among {streams} streams.",
            f"Take --threads {streams * max(1, cell.threads // streams)}, or other streams.",
        )
    threads = cell.threads // streams
    workers = []
    for number in range(streams):
        worker = start_worker(
            cell.engine,
            threads=threads,
            first_cpu=number * threads,
            python=cell.settings.python,
            call_timeout=context.plan.call_timeout,
            progress=context.say,
        )
        workers.append(stack.enter_context(worker))
        worker.ask_available()
    for worker in workers:
        one.facts.update(compile_session(worker, cell, one.prepared))
    return workers
