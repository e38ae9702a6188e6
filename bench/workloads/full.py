"""``full``: every non-zero weight trains with a new dense classifier (or head); the mask stays.

One training is the whole thing, end to end: load the weights, decode the images once, augment
them again in every epoch, forward, backward, update, evaluate. Each cell's trainings of a
block run in a fresh process that has the machine for itself; the cells take turns in a random
order. The seeds are dealt over the blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, ClassVar

from sparsebench.bench.plan.settings import NORMS, TrainingSettings, at_least, one_of
from sparsebench.bench.workloads.bases import Training
from sparsebench.bench.workloads.stepwise import Stepwise, seeds_of_block
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.bench.plan.cells import Cell
    from sparsebench.bench.plan.plan import Plan
    from sparsebench.bench.records import Trial
    from sparsebench.bench.training.job import Job
    from sparsebench.bench.workloads.block_context import BlockContext, Ready

TUNING = ("on", "off")
COMMUNICATION = "communication"
TOGETHER = ("torch",)
"""Engines that train in several processes."""


@dataclass(frozen=True)
class FullSettings(TrainingSettings):
    """Training of every non-zero weight.

    Attributes:
        tune: ``on`` tries out what runs fastest here; ``off`` runs it the plain way.
        deterministic: only deterministic kernels; with ``tune`` their cost is measured too.
        processes: that share every batch, and the threads; on GPUs each has one of its own.
        batch_norm: with several processes, ``global``: it sees the images of all, as one process
            would; ``local``: of its own alone.
    """

    flat: ClassVar[Mapping[str, str]] = {
        **TrainingSettings.flat,
        "tune": "tune",
        "deterministic": "deterministic",
    }
    tune: str = "on"
    deterministic: bool = False
    processes: int = 1
    batch_norm: str = NORMS[0]

    def check(self) -> None:
        """As :meth:`Settings.check`."""
        super().check()
        one_of("tune", self.tune, TUNING)
        at_least("processes", self.processes, 1)
        one_of("batch_norm", self.batch_norm, NORMS)

    @property
    def shared(self) -> dict[str, Any]:
        """What several processes change; nothing for one, which older runs had."""
        if self.processes == 1:
            return {}
        return {"processes": self.processes, "batch_norm": self.batch_norm}


class Full(Stepwise, Training):
    """Full fine-tuning."""

    name = "full"
    usual_seconds = 120.0
    engines = ("torch", "torch-compile", "native")
    settings = FullSettings
    runs = "whole"
    accuracy_rank = 2
    trains_backbone = True

    @classmethod
    def identity(cls, plan: Plan) -> dict[str, Any]:
        """As :meth:`Workload.identity`."""
        own = plan.section(cls.name, FullSettings)
        more = {"tune": own.tune, "deterministic": own.deterministic}
        return {**super().identity(plan), **more, **own.shared}

    @classmethod
    def recorded(cls, plan: Plan, cell: Cell) -> dict[str, Any]:
        """As :meth:`Workload.recorded`; determinism and processes are no part of older records."""
        own = plan.section(cls.name, FullSettings)
        strict = {"deterministic": True} if own.deterministic else {}
        return {**super().recorded(plan, cell), **strict, **own.shared}

    @classmethod
    def check(cls, plan: Plan) -> None:
        """As :meth:`Workload.check`: every process needs a thread and images."""
        processes = plan.section(cls.name, FullSettings).processes
        for held, what, option in (
            (plan.threads or usable_cpus(), "threads", "--threads"),
            (plan.batch_size, "images in a batch", "--batch-size"),
        ):
            if held < processes:
                raise SparsebenchError(
                    f"{processes} processes cannot share {held} {what}.",
                    f"Take fewer --processes, or a larger {option}.",
                )

    @classmethod
    def facts(cls, plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
        """As :meth:`Workload.facts`: what several processes sent each other; medians of times."""
        told = [t.extra[COMMUNICATION] for t in trials if COMMUNICATION in t.extra]
        if not told:
            return {}
        times = {
            key: median([one[key] for one in told]) for key in told[0] if key.endswith("seconds")
        }
        return {COMMUNICATION: {**told[0], **times}}

    def train_block(self, ready: Sequence[Ready], context: BlockContext) -> None:
        """One trial of every cell."""
        from sparsebench.bench.machine.energy import joules_per_image, read_energy
        from sparsebench.bench.records import utc_now
        from sparsebench.bench.training.launch import run_job
        from sparsebench.bench.training.training_facts import (
            mean_process_seconds,
            mean_run_delay,
            mean_stages,
            outcomes_of,
            trial_facts,
        )
        from sparsebench.bench.workloads.block_context import failures_become_trials, make_trial

        dead: set[str] = set()
        context.turns.begin()
        for place, index in enumerate(context.order(len(ready), self.name)):
            one = ready[index]
            context.say(one.cell.label)
            context.turns.pass_on()
            started = utc_now()
            with failures_become_trials(one, context, place, dead):
                job = job_of(one, context)
                energy = read_energy()
                answers = run_job(
                    job,
                    timeout=context.plan.call_timeout,
                    say=context.say_of(one.cell),
                )
                trained = answers.trained
                images = len(context.task.train) * job.recipe.epochs
                trial = make_trial(
                    one,
                    context,
                    order=place,
                    started=started,
                    seconds=[fmean(t.seconds for t in trained)],
                    items=images,
                    stages=mean_stages(trained),
                    accuracy=[t.last for t in trained],
                    process_seconds=mean_process_seconds(trained),
                    run_delay_seconds=mean_run_delay(trained),
                    extra={
                        **trial_facts(trained),
                        **joules_per_image(energy, images * len(trained)),
                        **context.keep(one.cell, outcomes_of(trained, context.task.test.labels)),
                        **answers.facts,
                    },
                )
                context.emit(trial)
        context.turns.end()


def job_of(one: Ready, context: BlockContext) -> Job:
    """What the training process of a cell is told in this block.

    Raises:
        SparsebenchError: a precision, or a kind of backbone, that cannot be trained.
    """
    from sparsebench.bench.training.job import Job
    from sparsebench.bench.training.recipe import recipe_of, training_preprocessing
    from sparsebench.models.onnx_file.backbone import OnnxBackbone
    from sparsebench.models.sources.onnx_file import refuse_training

    plan, cell = context.plan, one.cell
    own = plan.section(Full.name, FullSettings)
    if isinstance(one.prepared.backbone, OnnxBackbone):
        refuse_training(cell.backbone)
    if cell.precision not in ("fp32", "bf16"):
        raise SparsebenchError(
            f"Training in {cell.precision} is not possible.", "Take --precision fp32 or bf16."
        )
    if cell.engine == "native" and cell.device != "cpu":
        raise SparsebenchError(
            f"The native kernels train on the CPU, not on {cell.device}.",
            "Leave the engine 'native' out, or take --device cpu.",
        )
    if own.processes > 1 and cell.engine not in TOGETHER:
        raise SparsebenchError(
            f"The engine {cell.engine} trains in one process, not in {own.processes}.",
            f"Take --engine {TOGETHER[0]}, or leave --processes out.",
        )
    recipe = recipe_of(plan, cell)
    return Job(
        backbone=cell.backbone,
        task=cell.task,
        task_options=plan.task_options,
        preprocessing=training_preprocessing(one.prepared.preprocessing, recipe, cell.task),
        recipe=recipe,
        seeds=seeds_of_block(plan, context.block),
        validation=own.validation,
        device=cell.device,
        precision=cell.precision,
        threads=cell.threads // own.processes,
        compile=cell.engine == "torch-compile",
        kernels=cell.engine == "native",
        tune=own.tune == "on",
        tuned=_found_earlier(one, context) if own.tune == "on" else {},
        deterministic=own.deterministic,
        processes=own.processes,
        batch_norm=own.batch_norm,
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
                "products": execution.get("products", False),
                "kernels": execution["kernels"],
                "graphs": execution.get("graphs", False),
                "layers": trial.extra.get("layers", {}),
                **({} if cost is None else {"deterministic_cost": cost}),
            }
    return {}
