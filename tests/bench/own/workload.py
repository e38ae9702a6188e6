"""A workload as its owner would write it: one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsebench.bench.plan.settings import Settings, at_least
from sparsebench.bench.workloads.bases import OnEngine

if TYPE_CHECKING:
    from sparsebench.bench.workloads.block_context import BlockContext, Running


@dataclass(frozen=True)
class SingleCallSettings(Settings):
    """How often it calls."""

    calls: int = 2

    def check(self) -> None:
        at_least("calls", self.calls, 1)


class SingleCall(OnEngine):
    """Seconds of an engine call, one at a time."""

    name = "single-call"
    caption = "seconds: one engine call on one full batch."
    settings = SingleCallSettings

    def run_block(self, running: Sequence[Running], context: BlockContext) -> None:
        """One trial of every cell."""
        from sparsebench.bench.records import utc_now
        from sparsebench.bench.workloads.block_context import failures_become_trials, make_trial

        calls = context.plan.section(self.name, SingleCallSettings).calls
        for place, index in enumerate(context.order(len(running), self.name)):
            one, started = running[index], utc_now()
            with failures_become_trials(one, context, place, set()):
                slot = one.worker.load(one.prepared.images)
                seconds = one.worker.time(slot, calls=calls, budget=0, most=calls)
                items = one.cell.batch_size
                trial = make_trial(
                    one, context, order=place, started=started, seconds=seconds, items=items
                )
                context.emit(trial)
