"""Do several streams serve more images a second than one session on all threads?
``python -m sparsebench.results.scripts.streams --backbone resnet18/dense``.

Each engine and precision computes the same images in two ways, in turns: one session on all threads
with the whole batch, and as many sessions as threads, each with its share of the batch, at the same
time and on processors of their own. Counted is wall time, for threads that wait for each other cost
no processor time: the machine must be quiet. Prints one JSON line for each: images a second of
both, and the streams' over the session's (median over turns, from least to most).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.launch import ENGINES, start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.zoo.load import load_backbone

SECONDS = 0.5  # of a turn
Sessions = list[tuple[EngineWorker, int]]


def main(
    backbone: Annotated[list[str] | None, typer.Option(help="Name; may be repeated.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="openvino:bf16; all by default.")] = None,
    batch_size: int = 64,
    size: int = 64,
    turns: int = 12,
) -> None:
    """Measure and print."""
    threads = usable_cpus()
    for name in backbone or ["resnet18/dense", "resnet18/gmp_uniform-90"]:
        artifact = export_backbone(
            load_backbone(name), size=size, readers=readers_of(["deepsparse"])
        )
        for entry in engine or [f"{e}:{p}" for e in ENGINES for p in ENGINES.load(e).precisions]:
            line: dict[str, Any] = {"backbone": name, "engine": entry, "batch_size": batch_size}
            try:
                found = compare(artifact, entry, batch_size, threads, turns)
            except WorkerFailed as failure:
                found = {"left_out": failure.reason}
            print(json.dumps(line | found), flush=True)


def compare(artifact: Artifact, entry: str, batch: int, threads: int, turns: int) -> dict[str, Any]:
    """Images a second of one session and of as many streams as threads.

    Raises:
        WorkerFailed: an engine does not run here.
    """
    name, _, precision = entry.partition(":")
    shape = (batch, *artifact.input_shape)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    if precision == "int8":
        form = getattr(ENGINES.load(name), "int8_form", "qdq")
        artifact = quantised_artifact(artifact, form, "streams", lambda: images[:64])
    with ExitStack() as stack:

        def sessions(count: int) -> Sessions:
            own, share, found = threads // count, batch // count, []
            for number in range(count):
                worker = stack.enter_context(
                    start_worker(name, threads=own, first_cpu=number * own)
                )
                worker.compile(artifact, CompileRequest(share, own, precision or "fp32"))
                found.append((worker, worker.load(images[number * share :][:share])))
            return found

        pool = stack.enter_context(ThreadPoolExecutor(threads))
        both = {"session": sessions(1), "streams": sessions(threads)}
        speeds: dict[str, list[float]] = {kind: [] for kind in both}
        for turn in range(turns + 1):
            for kind, running in both.items():
                calls = list(pool.map(_calls, running))
                if turn:
                    share = batch // len(running)
                    speeds[kind].append(sum(share / median(seconds) for seconds in calls))
    ratios = [many / one for one, many in zip(*speeds.values(), strict=True)]
    return {
        **{kind: round(median(found), 1) for kind, found in speeds.items()},
        "streams/session": [round(f(ratios), 3) for f in (median, min, max)],
    }


def _calls(session: tuple[EngineWorker, int]) -> list[float]:
    worker, slot = session
    return worker.time(slot, calls=3, budget=SECONDS, most=10_000)


if __name__ == "__main__":
    typer.run(main)
