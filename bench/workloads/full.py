"""``full``: every non-zero weight trains with a new dense classifier; the mask stays.

One training is the whole thing, end to end: load the weights, decode the pictures once, cut
them anew in every epoch, forward, backward, update, evaluate. Each cell's trainings of a
block run in a fresh process that has the machine for itself; the cells take turns in a random
order. The seeds are dealt over the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from sparsebench.bench.records import utc_now
from sparsebench.bench.training.facts import mean_stages, trial_facts
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.launch import run_job
from sparsebench.bench.training.recipe import recipe_of, training_preprocessing
from sparsebench.bench.workloads.base import (
    BlockContext,
    Ready,
    failures_become_trials,
    make_trial,
    seeds_of_block,
)
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.backbone import OnnxBackbone
from sparsebench.models.sources.onnx_file import refuse_training


class Full:
    """Full fine-tuning."""

    name = "full"
    engines = ("torch", "torch-compile", "native")

    def train_block(self, ready: Sequence[Ready], context: BlockContext) -> None:
        """One trial of every cell."""
        dead: set[str] = set()
        context.turns.begin()
        for place, index in enumerate(context.order(len(ready), self.name)):
            one = ready[index]
            context.say(one.cell.label)
            context.turns.pass_on()
            started = utc_now()
            with failures_become_trials(one, context, place, dead):
                job = job_of(one, context)
                answers = run_job(
                    job,
                    timeout=context.plan.call_timeout,
                    say=context.say_of(one.cell),
                )
                trained = answers.trained
                trial = make_trial(
                    one,
                    context,
                    order=place,
                    started=started,
                    seconds=[fmean(t.seconds for t in trained)],
                    items=len(context.task.train) * job.recipe.epochs,
                    stages=mean_stages(trained),
                    accuracy=[t.last for t in trained],
                    extra={**trial_facts(trained), **answers.facts},
                )
                context.emit(trial)
        context.turns.end()


def job_of(one: Ready, context: BlockContext) -> Job:
    """What the training process of a cell is told in this block.

    Raises:
        SparsebenchError: a precision, or a kind of backbone, that cannot be trained.
    """
    plan, cell = context.plan, one.cell
    if isinstance(one.prepared.backbone, OnnxBackbone):
        refuse_training(cell.backbone)
    if cell.precision not in ("fp32", "bf16"):
        raise SparsebenchError(
            f"Training in {cell.precision} is not possible.", "Take --precision fp32 or bf16."
        )
    if cell.engine == "native" and (cell.precision, cell.device) != ("fp32", "cpu"):
        raise SparsebenchError(
            f"The native kernels train in fp32 on the CPU, not in {cell.precision} on "
            f"{cell.device}.",
            "Leave the engine 'native' out, or take --precision fp32 --device cpu.",
        )
    options = {
        "data_dir": plan.data_dir or None,
        "strict": plan.strict,
        "limit": plan.limit or None,
        "metric": plan.metric or None,
    }
    recipe = recipe_of(plan, cell)
    return Job(
        backbone=cell.backbone,
        task=cell.task,
        task_options=options,
        preprocessing=training_preprocessing(one.prepared.preprocessing, recipe, cell.task),
        recipe=recipe,
        seeds=seeds_of_block(plan, context.block),
        validation=plan.validation,
        device=cell.device,
        precision=cell.precision,
        threads=cell.threads,
        compile=cell.engine == "torch-compile",
        kernels=cell.engine == "native",
        tune=plan.tune == "on",
        tuned=_found_earlier(one, context) if plan.tune == "on" else {},
        deterministic=plan.deterministic,
    )


def _found_earlier(one: Ready, context: BlockContext) -> dict[str, Any]:
    """How the first block of this run that calibrated this cell found it to run fastest."""
    for trial in context.earlier(one.cell):
        if "execution" in trial.extra and "tuned_in_block" not in trial.extra:
            execution = trial.extra["execution"]
            cost = execution.get("deterministic_cost")
            return {
                "block": trial.block,
                "channels_last": execution["channels_last"],
                "kernels": execution["kernels"],
                "graphs": execution.get("graphs", False),
                "layers": trial.extra.get("layers", {}),
                **({} if cost is None else {"deterministic_cost": cost}),
            }
    return {}
