"""All questions to one or several runs, answered together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sparsebench.bench.comparisons.training import CACHED, ONLINE
from sparsebench.bench.decide.candidates import INFERENCE, Candidate, Excluded, candidates
from sparsebench.bench.decide.choice import Choice, Limits, choose
from sparsebench.bench.decide.flips import (
    Flip,
    accuracy_flips,
    batch_flips,
    latency_flips,
    production_flip,
)
from sparsebench.bench.decide.retraining import Retraining, weigh
from sparsebench.bench.present import escape
from sparsebench.bench.records import Record, Trial
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError

LINEAR = (CACHED, ONLINE)
FULL = "full"
RunData = tuple[str, Sequence[Record], Sequence[Trial]]
"""Path of a run, its records, its trials."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        limits: what can be accepted.
        batch_size: pictures of a call in inference; None for the runs' only one.
        retrain_every: seconds between two trainings, None where it does not matter.
        reference: dense backbone that a loss is measured against; None for the most accurate.
    """

    limits: Limits = field(default_factory=Limits)
    batch_size: int | None = None
    retrain_every: float | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Answer:
    """The choice for one workload on one task.

    Attributes:
        workload: of its cells.
        task: of its cells.
        batch_size: pictures of a call; None in training, where each cell has its own.
        choice: None where nothing was measured.
        dense: the fastest dense cell that may be used, to compare with.
        flips: what would change the answer.
        same_batches: other measured batch sizes with the same answer.
        unmeasured: what is missing for an answer; empty where there is one.
        measure: the command that measures it.
        retraining: with a period, and after inference: one for each training workload.
    """

    workload: str
    task: str
    batch_size: int | None
    choice: Choice | None
    dense: Candidate | None = None
    flips: tuple[Flip, ...] = ()
    same_batches: tuple[int, ...] = ()
    unmeasured: str = ""
    measure: str = ""
    retraining: tuple[Retraining, ...] = ()


@dataclass(frozen=True)
class Advice:
    """All answers.

    Attributes:
        question: what was asked.
        answers: inference, linear and full, task by task.
        excluded: cells that could not be candidates, with the reason.
        machine: fingerprint of the one machine of all runs.
    """

    question: Question
    answers: tuple[Answer, ...]
    excluded: tuple[Excluded, ...]
    machine: str

    @property
    def exit_code(self) -> int:
        """0 with an answer; 1 where what was measured does not fit; 3 where inference was not."""
        if any(one.workload == INFERENCE and one.choice is None for one in self.answers):
            return NothingMeasuredError.exit_code
        measured = [one for one in self.answers if one.choice is not None]
        return int(any(one.choice and one.choice.winner is None for one in measured))


def advise(runs: Sequence[RunData], question: Question) -> Advice:
    """The deployer's answer from the records of one machine.

    Args:
        runs: at least one.
        question: the limits.

    Raises:
        SparsebenchError: runs of several machines, an unknown reference, or several batch
            sizes and none was named.
        NothingMeasuredError: there is no cell to choose from.
    """
    machine = _one_machine(runs)
    _known_reference(runs, question.reference)
    found: list[Candidate] = []
    excluded: list[Excluded] = []
    for name, records, trials in runs:
        here, out = candidates(name, records, trials, question.reference)
        found += here
        excluded += out
    if not found:
        reasons = dict.fromkeys(reason for _, reason in excluded)
        raise NothingMeasuredError(
            f"No cell can be advised on: {'; '.join(reasons) or 'the run is empty'}.",
            "`sparsebench run quick` measures trained backbones.",
        )
    batch_size = question.batch_size or _only_batch(found)
    answers = []
    for task in dict.fromkeys(one.record.task.name for one in found):
        mine = [one for one in found if one.record.task.name == task]
        answers += _of_task(task, mine, runs[0][0], question, batch_size)
    return Advice(question, tuple(answers), tuple(excluded), machine)


def _of_task(
    task: str, found: Sequence[Candidate], run: str, question: Question, batch_size: int
) -> list[Answer]:
    answers = [_inference(task, found, run, question, batch_size)]
    measured = [w for w in (*LINEAR, FULL) if any(one.record.workload == w for one in found)]
    if not set(measured) & set(LINEAR):
        answers.append(_missing(LINEAR[0], task, run))
    for workload in measured:
        mine = [one for one in found if one.record.workload == workload]
        answers.append(_answer(workload, task, None, mine, question.limits))
    if FULL not in measured:
        answers.append(_missing(FULL, task, run))
    return answers


def _inference(
    task: str, found: Sequence[Candidate], run: str, question: Question, batch_size: int
) -> Answer:
    every = [one for one in found if one.record.workload == INFERENCE]
    mine = [one for one in every if one.batch_size == batch_size]
    if not mine:
        sizes = sorted({one.batch_size for one in every})
        what = f"No cell of inference on {task} was measured at batch size {batch_size}"
        what += f", only at {', '.join(map(str, sizes))}." if sizes else "."
        command = _command(run, f"batch-{batch_size}", INFERENCE, "--batch-size", str(batch_size))
        return Answer(INFERENCE, task, batch_size, None, unmeasured=what, measure=command)
    limits = question.limits
    answer = _answer(INFERENCE, task, batch_size, mine, limits)
    winner = answer.choice.winner if answer.choice else None
    flips, same = batch_flips(every, limits, batch_size, winner)
    weighed = []
    if question.retrain_every is not None:
        for workload in (*LINEAR, FULL):
            training = [one for one in found if one.record.workload == workload]
            if training:
                weighed.append(weigh(mine, training, limits, question.retrain_every))
    return Answer(
        INFERENCE,
        task,
        batch_size,
        answer.choice,
        dense=answer.dense,
        flips=(*answer.flips, *latency_flips(mine, limits, winner), *flips),
        same_batches=tuple(same),
        retraining=tuple(weighed),
    )


def _answer(
    workload: str, task: str, batch_size: int | None, found: Sequence[Candidate], limits: Limits
) -> Answer:
    cost = Candidate.seconds
    choice = choose(found, limits)
    dense = [one for one in found if one.record.backbone.is_dense and limits.licensed(one)]
    flips = [
        *accuracy_flips(found, limits, choice.winner, cost),
        *production_flip(found, limits, choice, cost),
    ]
    fastest = min(dense, key=cost, default=None)
    return Answer(workload, task, batch_size, choice, dense=fastest, flips=tuple(flips))


def _missing(workload: str, task: str, run: str) -> Answer:
    return Answer(
        workload,
        task,
        None,
        None,
        unmeasured=f"{workload} on {task} was not measured.",
        measure=_command(run, workload, workload),
    )


def _command(run: str, suffix: str, workload: str, *options: str) -> str:
    """The command that measures what a run has not."""
    words = ["sparsebench", "run", f"{run}/plan.toml", "--workload", workload, *options]
    return escape.shell([*words, "--out", f"{run}-{suffix}"])


def _one_machine(runs: Sequence[RunData]) -> str:
    found: dict[str, str] = {}
    for name, records, _ in runs:
        for record in records:
            found.setdefault(str(record.machine.get("fingerprint")), name)
    if len(found) > 1:
        listed = ", ".join(f"{name} ({machine})" for machine, name in found.items())
        raise SparsebenchError(
            f"These runs are of {len(found)} machines: {listed}.",
            "Times of two machines do not compare: ask for one machine at a time.",
        )
    return next(iter(found), "")


def _known_reference(runs: Sequence[RunData], wanted: str | None) -> None:
    if wanted is None:
        return
    names = {record.backbone.name for _, records, _ in runs for record in records}
    if wanted not in names:
        raise UnknownNameError("backbone of these runs", wanted, names)


def _only_batch(found: Sequence[Candidate]) -> int:
    sizes = sorted({one.batch_size for one in found if one.record.workload == INFERENCE})
    if len(sizes) > 1:
        listed = ", ".join(map(str, sizes))
        raise SparsebenchError(
            f"Inference was measured at the batch sizes {listed}.",
            f"Choose one: --batch-size {sizes[0]}.",
        )
    return sizes[0] if sizes else 1
