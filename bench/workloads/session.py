"""A session in a fresh worker: compiled, and verified before any clock starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsebench.bench.machine.hardware import openmp_runtimes
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.workloads.prepared_backbone import Prepared
from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.verify import check_outputs
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.launch import ENGINES

RECOMPILED = "recompiled"
"""Of a trial's facts: whether the first compilation computed NaN, and a second one was taken."""


def compile_session(worker: EngineWorker, cell: Cell, prepared: Prepared) -> dict[str, Any]:
    """Compile and verify one session; returns its facts.

    An engine that computes NaN or infinity is compiled once more: DeepSparse did so of a ConvNeXt
    in one of six compilations of the same file.

    Args:
        worker: that was asked whether its engine is available; the session takes its threads.
        cell: what is measured.
        prepared: its backbone.

    Raises:
        WorkerFailed: the engine is not available, refuses, dies, or computes wrongly.
    """
    available = worker.answer_available()
    if not available.ok:
        raise WorkerFailed("engine", f"{available.reason} {available.fix}".strip())
    request = CompileRequest(
        batch_size=cell.batch_size,
        threads=worker.threads,
        precision=cell.precision,
        device=cell.device,
        options=dict(cell.settings.options),
    )
    form = getattr(ENGINES.load(cell.engine), "int8_form", "qdq")
    artifact = prepared.artifact_for(cell.precision, form)
    answer = worker.compile(artifact, request)
    outputs = worker.run(prepared.images)
    recompiled = not np.isfinite(outputs).all()
    if recompiled:
        answer = worker.compile(artifact, request)
        outputs = worker.run(prepared.images)
    verdict = check_outputs(
        prepared.backbone, prepared.artifact, prepared.reference, outputs, cell.precision
    )
    if not verdict.ok:
        raise WorkerFailed("engine", f"verification failed: {verdict.reason}")
    return {
        "compile_seconds": float(answer["seconds"]),
        "export_seconds": prepared.export_seconds,
        "engine": {**available.to_json(), "describe": answer["describe"]},
        "affinity": answer["affinity"],
        "openmp": openmp_runtimes(worker.pid),
        "verification": verdict.to_json(),
        "quantisation": artifact.facts.get("quantisation"),
        **({RECOMPILED: True} if recompiled else {}),
    }
