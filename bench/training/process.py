"""The training process: ``python -m bench.training.process`` with a job on its standard input.

It answers on standard output, one JSON object a line: ``{"say": …}`` while it works, then
``{"trained": …}`` for each seed, ``{"facts": …}`` once, and ``{"error": …, "mend": …}`` if
something is wrong that a user can put right.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import asdict, replace
from typing import Any, TextIO

from bench.stages import StageClock
from bench.training.job import Job
from models.errors import SparsebenchError


def main() -> None:
    """Read the job, train, answer."""
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        _work(Job.from_json(sys.stdin.read()), answers)
    except SparsebenchError as error:
        _answer(answers, error=error.cause, mend=error.mend)
        sys.exit(error.exit_code)
    except MemoryError:
        _answer(answers, error="out of memory", mend="Take a smaller --batch-size.", memory=True)
        sys.exit(2)
    except RuntimeError as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        memory = "out of memory" in str(error) or "can't allocate memory" in str(error)
        _answer(answers, error=text, mend="", memory=memory)
        raise


def _work(job: Job, answers: TextIO) -> None:
    import torch

    from bench.tasks import open_task
    from bench.training.calibrate import fastest
    from bench.training.execution import Execution, configured
    from bench.training.kernels import choose_layers, compare_whole, kernels_ready, use_layers
    from bench.training.loop import train_network
    from bench.training.losses import steps_between_fetches
    from bench.training.network import load_network
    from bench.training.placement import placed
    from bench.training.rehearse import rehearse
    from bench.training.source import decode_task

    def say(text: str) -> None:
        _answer(answers, say=text)

    say("opening the task")
    task = open_task(job.task, **job.task_options)
    execution = Execution(
        device=job.device,
        precision=job.precision,
        compile=job.compile,
        kernels=job.kernels,
        accumulate=job.accumulate,
        threads=job.threads,
        deterministic=job.deterministic,
        losses_every=steps_between_fetches(job.device),
    )
    # What an earlier block found holds for the whole run: blocks differ in nothing but time.
    layers: dict[str, dict[str, Any]] = {}
    how: Execution | None = None
    if found := job.tuned:
        layers = found["layers"]
        how = replace(
            execution,
            channels_last=found["channels_last"],
            kernels=found["kernels"],
            graphs=found.get("graphs", False) and execution.may_have_graphs,
        )
        _answer(answers, facts={"tuned_in_block": found["block"]})
    with configured(execution):
        for seed in job.seeds:
            clock = StageClock()
            with clock.stage("load"):
                network = load_network(job.backbone, len(task.classes), seed, device=job.device)
            say("decoding")
            data = decode_task(
                task, job.preprocessing, job.validation, threads=job.threads, clock=clock
            )
            place: dict[str, Any] = {}
            compiling = 0.0
            if execution.on_gpu:
                with clock.stage("load"):
                    data, place = placed(data, job.device)
            if job.kernels:
                say("compiling the kernels")
                with clock.paused():  # a one-off: the compiled file is kept
                    kernels_ready()
                    began = time.perf_counter()
                    dense, network = network, network.with_kernels(job.threads)
                    compiling = time.perf_counter() - began
                    layers = layers or choose_layers(network, data, job)
                    use_layers(network, layers)
                    _answer(answers, facts={"layers": layers})
                    if how is None and job.tune:
                        choice = compare_whole(dense, layers, data, job, execution)
                        how = choice.execution if choice else execution
                        _answer(answers, facts={"tuning": _told(choice)} if choice else {})
                if how and not how.kernels:
                    network = dense
            elif how is None and job.tune:
                say("trying out memory formats" + " and graphs" * execution.on_gpu)
                with clock.paused():
                    choice = fastest(network, data, job.recipe, execution)
                how = choice.execution
                _answer(answers, facts={"tuning": _told(choice)})
            how = how or execution
            if how.channels_last:
                with clock.stage("load"):
                    network.module.to(memory_format=torch.channels_last)
            if how.kernels or how.compile:
                say("compiling for the sizes of batches")
                with clock.paused():
                    compiling += rehearse(network, data, job.recipe, how)
            trained = train_network(network, data, job.recipe, how, seed=seed, clock=clock, say=say)
            ran = replace(how, graphs=how.graphs and "without_graphs" not in trained.facts)
            facts = {**trained.facts, "execution": asdict(ran), **place, **_memory(job.device)}
            if compiling:
                facts["compile_seconds"] = compiling
            _answer(answers, trained=replace(trained, facts=facts).to_json())


def _told(choice: Any) -> dict[str, Any]:
    from bench.training.calibrate import name_of

    told = asdict(choice)
    told["execution"] = name_of(choice.execution)
    return told


def _memory(device: str) -> dict[str, Any]:
    # Linux counts in KiB.
    facts = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.startswith("cuda"):
        import torch

        facts["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    return facts


def _answer(answers: TextIO, **values: Any) -> None:
    print(json.dumps(values), file=answers, flush=True)


if __name__ == "__main__":
    main()
