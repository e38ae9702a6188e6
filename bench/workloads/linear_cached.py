"""``linear-cached``: extract every picture's features once, then train a linear head on them.

One trial is the whole thing, end to end: read, decode, extract, train the head for all seeds
at once, evaluate. Cells of a block take their turns in a random order; each has a fresh
engine process that was compiled and verified before the clock starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.bench.records import ENGINE_PICTURES, utc_now
from sparsebench.bench.workloads.base import (
    BlockContext,
    Running,
    failures_become_trials,
    make_trial,
)
from sparsebench.bench.workloads.linear_head import fit_and_score


class LinearCached:
    """Linear fine-tuning on features that are extracted once."""

    name = "linear-cached"
    engines = None

    def run_block(self, running: Sequence[Running], context: BlockContext) -> None:
        """One end-to-end trial of every cell."""
        dead: set[str] = set()
        context.turns.begin()
        for place, index in enumerate(context.order(len(running), self.name)):
            one = running[index]
            context.say(one.cell.label)
            context.turns.pass_on()
            started = utc_now()
            with failures_become_trials(one, context, place, dead):
                # The first call after a pause is an engine's slowest; it belongs to no trial.
                one.worker.run(one.prepared.images)
                fitted = fit_and_score(one, context, fresh=True)
                pictures = len(context.task.train) + len(context.task.test)
                trial = make_trial(
                    one,
                    context,
                    order=place,
                    started=started,
                    seconds=[fitted.clock.total],
                    items=pictures,
                    stages=fitted.clock.seconds,
                    accuracy=fitted.accuracy,
                    extra={
                        "busy_seconds": fitted.clock.busy_seconds,
                        ENGINE_PICTURES: pictures,
                        "head": fitted.how,
                        "weight_decays": {f"{k:g}": v for k, v in fitted.strengths.items()},
                    },
                )
                context.emit(trial)
        context.turns.end()
