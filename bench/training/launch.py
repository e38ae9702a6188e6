"""The parent's side: a fresh process for each cell and block, which may die without harm."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import IO, Any

from sparsebench.bench.training.heartbeat import seconds_between
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.trained import Trained
from sparsebench.models.errors import SparsebenchError

# A batch that does not fit is halved so often at most.
MOST_PIECES = 16
COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "sparsebench.bench.training.process")


@dataclass
class Answers:
    """What a training process said.

    Attributes:
        trained: one for each seed.
        facts: of all of them together.
    """

    trained: list[Trained] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class _OutOfMemoryError(Exception):
    """The process ran out of memory, or was killed, probably for it."""


def run_job(job: Job, *, timeout: float, say: Callable[[str], None]) -> Answers:
    """Train in a fresh process, which dies with the thread that calls this.

    Where a batch does not fit into memory it is halved and tried again; the record tells.

    Args:
        job: what to do.
        timeout: seconds without a word after which the process counts as hung. One that works
            says a word every few seconds, after a step or a batch, however long it works.
        say: receives its progress.

    Raises:
        SparsebenchError: it failed, with the reason.
    """
    job = replace(job, word_every=seconds_between(timeout))
    pieces = job.accumulate
    while True:
        try:
            answers = _attempt(replace(job, accumulate=pieces), timeout, say)
        except _OutOfMemoryError as error:
            pieces *= 2
            if pieces > min(MOST_PIECES, job.recipe.batch_size // 2):  # two images in each
                raise SparsebenchError(
                    f"The training ran out of memory ({error}), in pieces of a batch too.",
                    "Take a smaller --size or --batch-size, or a machine with more memory.",
                ) from None
            say(f"out of memory; again with every batch in {pieces} pieces")
            continue
        if pieces != job.accumulate:
            answers.facts["accumulated_after_out_of_memory"] = pieces
        return answers


def _attempt(job: Job, timeout: float, say: Callable[[str], None]) -> Answers:
    # A session of its own keeps the terminal's Ctrl-C from it; that it dies with its parent it
    # asks the kernel for. The kernel means the thread that started it: this one, which waits.
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=_environment(job),
    )
    assert process.stdin is not None and process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []
    threading.Thread(target=_pump, args=(process.stdout, lines.put), daemon=True).start()
    listener = threading.Thread(
        target=_pump, args=(process.stderr, lambda line: errors.append(line or "")), daemon=True
    )
    listener.start()
    answers = Answers()
    try:
        process.stdin.write(job.to_json())
        process.stdin.close()
        while True:
            try:
                line = lines.get(timeout=timeout)
            except queue.Empty:
                raise SparsebenchError(
                    f"The training process said nothing for {timeout:g} s; it counts as hung."
                ) from None
            if line is None:
                break
            _take(json.loads(line), answers, say)
        code = process.wait()
    except BrokenPipeError:
        code = process.wait()
    finally:
        _end(process)
    if code or len(answers.trained) != len(job.seeds):
        listener.join(1)
        _failed(code, errors)
    return answers


def _take(answer: dict[str, Any], answers: Answers, say: Callable[[str], None]) -> None:
    if "say" in answer:
        say(answer["say"])
    elif "trained" in answer:
        answers.trained.append(Trained.from_json(answer["trained"]))
    elif "facts" in answer:
        answers.facts.update(answer["facts"])
    elif "error" in answer:
        if answer.get("memory"):
            raise _OutOfMemoryError(answer["error"])
        raise SparsebenchError(answer["error"], answer["fix"])


def _failed(code: int, errors: list[str]) -> None:
    if code == -signal.SIGKILL:
        raise _OutOfMemoryError("the process was killed")
    if code < 0:
        raise SparsebenchError(f"The training process died of {signal.Signals(-code).name}.")
    last = next((line.strip() for line in reversed(errors) if line.strip()), "no reason given")
    raise SparsebenchError(f"The training process failed: {last}")


def _pump(stream: IO[str] | None, give: Callable[[str | None], None]) -> None:
    assert stream is not None
    for line in stream:
        give(line)
    give(None)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _environment(job: Job) -> dict[str, str]:
    """The process computes with as many threads as every other engine."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    chosen = {name: str(job.threads) for name in names}
    if job.deterministic:
        # Without it cuBLAS, whose sums may differ from stream to stream, is refused by PyTorch.
        chosen["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if job.kernels:
        # The kernels have threads of their own. PyTorch's, after loss and optimizer, would
        # go on spinning for milliseconds on a core that the next layer wants.
        chosen["OMP_WAIT_POLICY"] = "PASSIVE"
    return {**os.environ, **chosen}
