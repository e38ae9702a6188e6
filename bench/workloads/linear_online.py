"""``linear-online``: augment and extract in every epoch, as the paper timed it.

One training is the whole thing, end to end: decode the images once, cut and mirror them
again in every epoch, extract through the engine, train the head step by step, evaluate through
the engine. The seeds are dealt over the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from sparsebench.bench.plan.settings import TrainingSettings
from sparsebench.bench.workloads.bases import OnEngine
from sparsebench.bench.workloads.stepwise import Stepwise, seeds_of_block

if TYPE_CHECKING:
    from sparsebench.bench.workloads.block_context import BlockContext, Running


class LinearOnline(Stepwise, OnEngine):
    """Linear fine-tuning that extracts in every step."""

    name = "linear-online"
    usual_seconds = 60.0
    runs = "extracted"
    engine_stages = ("extract", "evaluate")
    accuracy_rank = 1

    def run_block(self, running: Sequence[Running], context: BlockContext) -> None:
        """One trial of every cell."""
        from sparsebench.bench.machine.energy import joules_per_image, read_energy
        from sparsebench.bench.records import ENGINE_IMAGES, utc_now
        from sparsebench.bench.training.online import train_online
        from sparsebench.bench.training.recipe import recipe_of, training_preprocessing
        from sparsebench.bench.training.source import decode_task
        from sparsebench.bench.training.training_facts import (
            mean_process_seconds,
            mean_run_delay,
            mean_stages,
            outcomes_of,
            trial_facts,
        )
        from sparsebench.bench.workloads.block_context import failures_become_trials, make_trial
        from sparsebench.models.registry import load_target

        own = context.plan.section(self.name, TrainingSettings)
        plan, task = context.plan, context.task
        dead: set[str] = set()
        context.turns.begin()
        for place, index in enumerate(context.order(len(running), self.name)):
            one = running[index]
            cell = one.cell
            context.say(cell.label)
            context.turns.pass_on()
            started = utc_now()
            with failures_become_trials(one, context, place, dead):
                recipe = recipe_of(plan, cell)
                # The first call after a pause is an engine's slowest; it belongs to no trial.
                one.worker.run(one.prepared.images)
                prepared, trained = one.prepared, []
                preprocessing = training_preprocessing(prepared.preprocessing, recipe, cell.task)
                energy = read_energy()
                for seed in seeds_of_block(plan, context.block):
                    clock = one.clock()
                    objective = load_target(task.kind.objective)(task, preprocessing)
                    facts = prepared.artifact.facts
                    head = objective.online_head(one.worker.feature_dim, facts, recipe, seed)
                    data = decode_task(
                        task,
                        preprocessing,
                        own.validation,
                        threads=cell.threads,
                        clock=clock,
                        objective=objective,
                    )
                    seen = recipe.epochs * (len(data.train) + len(data.validation))
                    images = seen + len(data.test)
                    trained.append(
                        train_online(
                            one.worker,
                            data,
                            recipe,
                            head,
                            seed=seed,
                            threads=cell.threads,
                            clock=clock,
                            say=context.say_of(cell),
                        )
                    )
                trial = make_trial(
                    one,
                    context,
                    order=place,
                    started=started,
                    seconds=[fmean(t.seconds for t in trained)],
                    items=len(task.train) * recipe.epochs,
                    stages=mean_stages(trained),
                    accuracy=[t.last for t in trained],
                    process_seconds=mean_process_seconds(trained),
                    run_delay_seconds=mean_run_delay(trained),
                    extra={
                        **trial_facts(trained),
                        **one.memory(),
                        **joules_per_image(energy, len(task.train) * recipe.epochs * len(trained)),
                        **context.keep(cell, outcomes_of(trained, task.test.labels)),
                        ENGINE_IMAGES: images,
                    },
                )
                context.emit(trial)
        context.turns.end()
