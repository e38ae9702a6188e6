"""``inference``: seconds of an engine call on a full batch of real images.

Inside a block all cells are alive at once, each in its own fresh process, and take turns:
one random order forwards, the same order backwards (ABBA for two cells), several times, so
that a drift of the machine weighs on all of them alike: shared machines change their speed by
a tenth within seconds. The clocks are the worker's: wall time of every call, process time and run
delay of every visit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from sparsebench.bench.plan.settings import HeadSettings, at_least
from sparsebench.bench.workloads.on_features import OnFeatures

if TYPE_CHECKING:
    from sparsebench.bench.plan.plan import Plan
    from sparsebench.bench.workloads.block_context import BlockContext, Running
    from sparsebench.exporters.worker.client import Visit

WARMUP_CALLS = 30
WARMUP_SECONDS = 4.0
VISITS = 16  # of a block, over all its cells
LEAST_PASSES = 4  # there, back, there, back
VISIT_CALLS = 2
VISIT_MOST = 100
# After a pause the first call wakes threads and refills caches; where calls are long it
# does not matter, and repeating it would cost more than it tells.
WAKE_BELOW_SECONDS = 0.5


@dataclass(frozen=True)
class InferenceSettings(HeadSettings):
    """Engine calls; and linear heads, where no other cell lends its accuracy.

    Attributes:
        min_seconds: least time for each visit of a cell.
    """

    flat: ClassVar[Mapping[str, str]] = {**HeadSettings.flat, "min_seconds": "min_seconds"}
    min_seconds: float = 0.2

    def check(self) -> None:
        """As :meth:`Settings.check`."""
        super().check()
        at_least("min_seconds", self.min_seconds, 0)


class Inference(OnFeatures):
    """Throughput and latency of a compiled batch."""

    name = "inference"
    usual_seconds = 3.0
    unit = "images/s"
    caption = "images/s: throughput of the engine on full batches."
    settings = InferenceSettings
    runs = "whole"
    borrows_accuracy = True
    engine_alone = True
    counted = (
        "seeds", "solver", "epochs", "weight_decays", "validation", "detection_epochs",
    )  # fmt: skip

    @classmethod
    def identity(cls, plan: Plan) -> dict[str, Any]:
        """As :meth:`Workload.identity`."""
        own = plan.section(cls.name, InferenceSettings)
        return {**super().identity(plan), "min_seconds": own.min_seconds}

    def run_block(self, running: Sequence[Running], context: BlockContext) -> None:
        """Warm up every cell, then visit all of them in order and back, several times."""
        from sparsebench.bench.machine.energy import JOULES, joules_per_image, read_energy
        from sparsebench.bench.records import VISITS as VISITS_OF_TRIAL
        from sparsebench.bench.records import utc_now
        from sparsebench.bench.workloads.block_context import (
            WARM,
            failures_become_trials,
            known,
            make_trial,
        )
        from sparsebench.bench.workloads.linear_head import fit_and_score

        own = context.plan.section(self.name, InferenceSettings)
        order = [running[i] for i in context.order(len(running), self.name)]
        place = {one.cell.id: i for i, one in enumerate(order)}
        started = {one.cell.id: utc_now() for one in order}
        slots: dict[str, int] = {}
        warmup: dict[str, list[float]] = {one.cell.id: [] for one in order}
        visits: dict[str, list[Visit]] = {one.cell.id: [] for one in order}
        joules: dict[str, list[float | None]] = {one.cell.id: [] for one in order}
        dead: set[str] = set()
        for one in order:
            key = one.cell.id
            context.say(f"{one.cell.label} · warm-up")
            with failures_become_trials(one, context, place[key], dead):
                slots[key] = one.worker.load(one.prepared.images)
                warmup[key] = warm_up(one, slots[key])
                context.reach(one.cell, WARM)
        context.turns.begin()
        rounds = passes(len(order))
        for i, one in enumerate((*order, *reversed(order)) * (rounds // 2)):
            key = one.cell.id
            context.reach(one.cell, WARM + (0.9 - WARM) * (i // len(order)) / rounds)
            if key in dead:
                continue
            context.turns.pass_on()
            context.say(one.cell.label)
            with failures_become_trials(one, context, place[key], dead):
                if warmup[key][-1] < WAKE_BELOW_SECONDS:
                    warmup[key] += one.worker.time(slots[key], calls=1, budget=0, most=1)
                energy = read_energy()
                visits[key].append(
                    one.worker.visit(
                        slots[key],
                        calls=VISIT_CALLS,
                        budget=own.min_seconds,
                        most=VISIT_MOST,
                    )
                )
                calls = len(visits[key][-1].seconds)
                joules[key].append(joules_per_image(energy, calls * one.cell.batch_size)[JOULES])
        context.turns.end()
        for one in order:
            key = one.cell.id
            if key in dead:
                continue
            with failures_become_trials(one, context, place[key], dead):
                accuracy, extra = None, one.memory()
                if context.needs_accuracy(one.cell):
                    context.say(f"{one.cell.label} · accuracy")
                    fitted = context.heads.get(key) or fit_and_score(one, context, own).heads
                    accuracy = fitted.accuracy
                    extra |= {**fitted.extra, **context.keep(one.cell, fitted.outcomes)}
                trial = make_trial(
                    one,
                    context,
                    order=place[key],
                    started=started[key],
                    seconds=[second for visit in visits[key] for second in visit.seconds],
                    warmup=warmup[key],
                    items=one.cell.batch_size,
                    accuracy=accuracy,
                    process_seconds=[visit.process_seconds for visit in visits[key]],
                    run_delay_seconds=[visit.run_delay_seconds for visit in visits[key]],
                    extra={
                        **extra,
                        JOULES: median(spent) if (spent := known(joules[key])) else None,
                        VISITS_OF_TRIAL: [len(visit.seconds) for visit in visits[key]],
                    },
                )
                context.emit(trial)


def passes(cells: int) -> int:
    """How often a block goes over its cells, an even number: more often where they are few.

    Launching a pair of cells takes longer than all its visits; many short ones cancel more of
    what the machine does in the meantime than few long ones.
    """
    return max(LEAST_PASSES, VISITS // max(cells, 1) // 2 * 2)


def warm_up(one: Running, slot: int) -> list[float]:
    """Calls until the windowed median settles, or a cap on calls or seconds is reached."""
    from sparsebench.bench.statistics import settled

    samples: list[float] = []
    while len(samples) < WARMUP_CALLS and sum(samples) < WARMUP_SECONDS:
        samples += one.worker.time(slot, calls=1, budget=0, most=1)
        if settled(samples):
            break
    return samples
