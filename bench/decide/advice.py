"""What `sparsebench advise` is asked, and everything that it answers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparsebench.bench.comparisons.training import CACHED, ONLINE
from sparsebench.bench.decide.answers import INFERENCE, Answer, Limits, Question
from sparsebench.bench.decide.candidates import Excluded, RunData
from sparsebench.bench.decide.flips import Flip, flips_of
from sparsebench.bench.decide.retraining import Retraining, weigh
from sparsebench.bench.decide.study import Study
from sparsebench.bench.workloads.full import Full
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError

TRAINING = (CACHED, ONLINE, Full.name)
CANNOT_TELL = 4  # exit code


@dataclass(frozen=True)
class Request:
    """What `sparsebench advise` is asked.

    Attributes:
        limits: what can be accepted.
        batch_size: images of a call in inference; None for the runs' only one.
        retrain_every: seconds between two trainings, None where it does not matter.
        reference: dense backbone that all losses are measured against, and against whose
            variants all others compete; None for each variant's own dense baseline.

    Raises:
        SparsebenchError: a batch of no image, or a period that is none.
    """

    limits: Limits = field(default_factory=Limits)
    batch_size: int | None = None
    retrain_every: float | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise SparsebenchError(f"A batch has 1 image or more, not {self.batch_size}.")
        if self.retrain_every is not None and not 0 < self.retrain_every < math.inf:
            raise SparsebenchError(
                f"Nothing is trained every {self.retrain_every:g} seconds.",
                "Take more than 0 seconds, such as 86400 for a day.",
            )


@dataclass(frozen=True)
class Missing:
    """What was not measured, and the command that measures it."""

    workload: str
    task: str
    batch_size: int | None
    reason: str
    measure: str


@dataclass(frozen=True)
class Advised:
    """An answer with what would change it.

    Attributes:
        answer: what to take.
        flips: what would change it.
        same_batches: other measured batch sizes with the same answer.
        retraining: with a period, and for inference: one for each training workload.
    """

    answer: Answer
    flips: tuple[Flip, ...] = ()
    same_batches: tuple[int, ...] = ()
    retraining: tuple[Retraining, ...] = ()


@dataclass(frozen=True)
class Advice:
    """All answers to a request.

    Attributes:
        request: what was asked.
        study: all questions that the runs can be asked.
        answers: workload by workload, over all tasks and task by task.
        missing: what an answer would have to be measured for.
        excluded: cells that could not be candidates, with the reason.
        machine: fingerprint of the one machine of all runs.
    """

    request: Request
    study: Study
    answers: tuple[Advised, ...]
    missing: tuple[Missing, ...]
    excluded: tuple[Excluded, ...]
    machine: str

    @property
    def exit_code(self) -> int:
        """3: this batch size was not measured; 1: what was does not fit; 4: not shown; else 0."""
        kinds = {one.answer.kind for one in self.answers}
        if any(one.batch_size is not None for one in self.missing):
            return NothingMeasuredError.exit_code
        if "nothing fits" in kinds:
            return 1
        return CANNOT_TELL if "not shown" in kinds else 0


def advise(runs: Sequence[RunData], request: Request) -> Advice:
    """The deployer's answer from the records of one machine.

    Args:
        runs: at least one.
        request: what is asked.

    Raises:
        SparsebenchError: runs of several machines, an unknown reference, or several batch
            sizes and none was named.
        NothingMeasuredError: there is no cell to choose from.
    """
    machine = _one_machine(runs)
    names = {one.backbone.name for run in runs for one in run.records if one.backbone.is_dense}
    if request.reference is not None and request.reference not in names:
        raise UnknownNameError("dense backbone of these runs", request.reference, names)
    study = Study(runs, request.reference)
    asked = [one for one in study.questions if one.candidates]
    if not asked:
        reasons = dict.fromkeys(reason for _, reason in study.excluded)
        raise NothingMeasuredError(
            f"No cell can be advised on: {'; '.join(reasons) or 'the run is empty'}.",
            "`sparsebench run quick` measures trained backbones.",
        )
    batch_size = request.batch_size or _only_batch(asked)
    chosen = [q for q in asked if q.workload != INFERENCE or q.batch_size == batch_size]
    found = tuple(_advised(study, question, request, asked) for question in chosen)
    missing = tuple(_missing(runs[0].name, asked, request.batch_size, batch_size))
    return Advice(request, study, found, missing, tuple(study.excluded), machine)


def _advised(
    study: Study, question: Question, request: Request, asked: Sequence[Question]
) -> Advised:
    limits = request.limits
    answer = study.answer(question, limits)
    same = [
        other
        for other in asked
        if (other.workload, other.baseline, other.tasks) == (INFERENCE, *_about(question))
        and question.workload == INFERENCE
        and other.batch_size != question.batch_size
    ]
    flips, batches = flips_of(
        answer, lambda other: study.answer(question, other), [study.answer(q, limits) for q in same]
    )
    weighed = []
    if request.retrain_every is not None and question.workload == INFERENCE:
        for workload in TRAINING:
            training = [
                one
                for other in asked
                if (other.workload, other.baseline, other.tasks) == (workload, *_about(question))
                for one in other.candidates
            ]
            if training and len(question.tasks) == 1:
                weighed.append(weigh(question, training, limits, request.retrain_every))
    return Advised(answer, tuple(flips), tuple(batches), tuple(weighed))


def _about(question: Question) -> tuple[str, tuple[str, ...]]:
    return question.baseline, question.tasks


def _missing(
    run: str, asked: Sequence[Question], wanted: int | None, batch_size: int | None
) -> list[Missing]:
    """Workloads and batch sizes without a question, task by task."""
    found = []
    for task in dict.fromkeys(task for question in asked for task in question.tasks):
        here = [question for question in asked if task in question.tasks]
        sizes = sorted({q.batch_size for q in here if q.workload == INFERENCE})
        if wanted is not None and wanted not in sizes:
            what = f"No cell of inference on {task} was measured at batch size {wanted}"
            what += f", only at {', '.join(map(str, sizes))}." if sizes else "."
            words = (f"batch-{wanted}", INFERENCE, "--batch-size", str(wanted))
            found.append(Missing(INFERENCE, task, wanted, what, _command(run, *words)))
        have = {question.workload for question in here}
        lacking = [] if sizes or wanted else [INFERENCE]
        lacking += [] if have & {CACHED, ONLINE} else [CACHED]
        lacking += [] if TRAINING[-1] in have else [TRAINING[-1]]
        for workload in lacking:
            what = f"{workload} on {task} was not measured."
            found.append(Missing(workload, task, None, what, _command(run, workload, workload)))
    return found


def _command(run: str, suffix: str, workload: str, *options: str) -> str:
    """The command that measures what a run has not."""
    words = ["sparsebench", "run", f"{run}/plan.toml", "--workload", workload, *options]
    for engine in _engines(Path(run) / "plan.toml", workload):
        words += ["--engine", engine]
    return shlex.join([*words, "--out", f"{run}-{suffix}"])


def _engines(path: Path, workload: str) -> list[str]:
    """Engines that the command must name, since none of the plan's can do the workload."""
    from sparsebench.bench.plan.plan import load_plan
    from sparsebench.bench.plan.validation import engines_to_add

    try:
        return engines_to_add(load_plan(str(path)), workload)
    except SparsebenchError:  # there is no plan, or none that this version reads
        return []


def _one_machine(runs: Sequence[RunData]) -> str:
    found: dict[str, str] = {}
    for run in runs:
        for record in run.records:
            found.setdefault(str(record.machine.get("fingerprint")), run.name)
    if len(found) > 1:
        listed = ", ".join(f"{name} ({machine})" for machine, name in found.items())
        raise SparsebenchError(
            f"These runs are of {len(found)} machines: {listed}.",
            "Times of two machines do not compare: ask for one machine at a time.",
        )
    return next(iter(found), "")


def _only_batch(asked: Sequence[Question]) -> int | None:
    sizes = sorted({one.batch_size for one in asked if one.workload == INFERENCE})
    if len(sizes) > 1:
        listed = ", ".join(map(str, sizes))
        raise SparsebenchError(
            f"Inference was measured at the batch sizes {listed}.",
            f"Choose one: --batch-size {sizes[0]}.",
        )
    return sizes[0] if sizes else None
