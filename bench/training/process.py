"""The training process:
``python -m sparsebench.bench.training.process`` with a job on its standard input.

It answers on standard output, one JSON object a line: ``{"say": …}`` while it works, then
``{"trained": …}`` for each seed, ``{"facts": …}`` once, and ``{"error": …, "fix": …}`` if
something is wrong that a user can put right. Of several processes of one training the first answers
(:mod:`sparsebench.bench.training.distributed.spawn`).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TextIO

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.training.distributed.spawn import OthersFailedError, together
from sparsebench.bench.training.job import Job
from sparsebench.exporters.worker.worker import die_with_parent, is_memory_error
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.registry import load_target

if TYPE_CHECKING:
    from sparsebench.bench.training.distributed.group import Group


def main() -> None:
    """Read the job, train, answer."""
    # A parent that dies earlier than this is noticed too: the first word finds no reader.
    die_with_parent()
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        text = sys.stdin.read()
        job = Job.from_json(text)

        def failed(answer: dict[str, Any]) -> None:
            _answer(answers, **answer)
            os._exit(2)  # the main thread waits for a process that is gone

        with together(job, text, failed) as group:
            _work(job, answers, group)
    except SparsebenchError as error:
        _answer(answers, error=error.cause, fix=error.fix)
        sys.exit(error.exit_code)
    except OthersFailedError as error:
        _answer(answers, **error.answer)
        sys.exit(2)
    except MemoryError:
        _answer(answers, error="out of memory", fix="Take a smaller --batch-size.", memory=True)
        sys.exit(2)
    except RuntimeError as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        _answer(answers, error=text, fix="", memory=is_memory_error(error))
        raise


def _work(job: Job, answers: TextIO, group: Group | None = None) -> None:
    from sparsebench.bench.tasks import open_task
    from sparsebench.bench.training.distributed.facts import of_all
    from sparsebench.bench.training.execution import configured
    from sparsebench.bench.training.heartbeat import Heartbeat
    from sparsebench.bench.training.loop import train_network
    from sparsebench.bench.training.memory import peak_memory, restart_peak
    from sparsebench.bench.training.placement import placed
    from sparsebench.bench.training.source import decode_task
    from sparsebench.bench.training.tuning import Tuning
    from sparsebench.models.architectures.without_compiler import postpone_compiler

    if job.compile:
        # Else the first optimizer of the process imports it, under the clock.
        import torch._dynamo  # noqa: F401
    else:
        postpone_compiler()
    if group is not None:
        job = replace(job, device=group.device)
    beat = Heartbeat(lambda text: _answer(answers, say=text), every=job.word_every)
    say = beat.say

    say("opening the task")
    task = open_task(
        job.task,
        **job.task_options,
        say=say,
        progress=lambda done, all_: beat(f"checking images {done}/{all_}"),
    )
    objective = load_target(task.kind.objective)(task, job.preprocessing)
    tuning = Tuning(job, beat, lambda **facts: _answer(answers, facts=facts), group)
    with configured(tuning.asked):
        for seed in job.seeds:
            clock = StageClock()
            with clock.stage("load"):
                network = objective.network(job.backbone, seed, device=job.device)
            say("decoding")
            data = decode_task(
                task,
                job.preprocessing,
                job.validation,
                threads=job.threads,
                clock=clock,
                progress=lambda done, all_: beat(f"decoding {done}/{all_}"),
                objective=objective,
            )
            place: dict[str, Any] = {}
            if tuning.asked.on_gpu:
                with clock.stage("load"):
                    data, place = placed(data, job.device)
            network, how, compiling = tuning.settle(network, data, clock)
            restart_peak(job.device)
            trained = train_network(
                network,
                data,
                job.recipe,
                how,
                seed=seed,
                clock=clock,
                say=say,
                beat=beat,
                group=group,
            )
            ran = replace(how, graphs=how.graphs and "without_graphs" not in trained.facts)
            execution = asdict(ran)
            if tuning.deterministic_cost is not None:
                execution["deterministic_cost"] = tuning.deterministic_cost
            used = peak_memory(job.device)
            if group is not None:
                say("timing the all-reduce alone")
                trained, used = of_all(trained, used, network, group)
            facts = {**trained.facts, "execution": execution, **place, **used}
            if compiling:
                facts["compile_seconds"] = compiling
            _answer(answers, trained=replace(trained, facts=facts).to_json())


def _answer(answers: TextIO, **values: Any) -> None:
    print(json.dumps(values), file=answers, flush=True)


if __name__ == "__main__":
    main()
