"""What happens between a compiled engine and the clock."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsebench.bench.workloads.session import RECOMPILED, compile_session
from sparsebench.exporters.engines.base import Availability
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.verify import Reference
from sparsebench.exporters.worker.client import WorkerFailed

IMAGES = np.ones((2, 3, 4, 4), np.float32)
RIGHT = np.arange(10, dtype=np.float32).reshape(2, 5)


class Worker:
    """A worker whose compilations return these outputs, one after the other."""

    pid, threads = os.getpid(), 1

    def __init__(self, *outputs: NDArray[np.float32]) -> None:
        self.outputs = outputs
        self.compiled = 0

    def answer_available(self) -> Availability:
        return Availability(True)

    def compile(self, *given: object) -> dict[str, Any]:
        self.compiled += 1
        return {"seconds": float(self.compiled), "describe": {}, "affinity": [0]}

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.outputs[self.compiled - 1]


def compiled(worker: Worker) -> dict[str, Any]:
    artifact = Artifact("", "", (3, 4, 4), 5, "maps")
    prepared: Any = SimpleNamespace(
        images=IMAGES,
        artifact=artifact,
        artifact_for=lambda precision, form: artifact,
        backbone=None,
        reference=Reference(RIGHT, None, "mask", "mask", {}),
        export_seconds=1.0,
    )
    cell: Any = SimpleNamespace(
        batch_size=2,
        precision="fp32",
        device="cpu",
        settings=SimpleNamespace(options={}),
        engine="onnxruntime",
    )
    given: Any = worker
    return compile_session(given, cell, prepared)


def test_an_engine_that_computes_nan_is_compiled_once_more() -> None:
    """DeepSparse computed NaN of a ConvNeXt in one of six compilations of the same file."""
    facts = compiled(Worker(np.full_like(RIGHT, np.nan), RIGHT))
    assert facts[RECOMPILED] is True
    assert facts["compile_seconds"] == 2.0  # of the compilation that is measured
    assert facts["verification"]["ok"]


def test_one_that_computes_rightly_is_compiled_once() -> None:
    worker = Worker(RIGHT)
    assert RECOMPILED not in compiled(worker)
    assert worker.compiled == 1


def test_nan_twice_fails_and_other_errors_get_no_second_try() -> None:
    broken = np.full_like(RIGHT, np.inf)
    with pytest.raises(WorkerFailed, match="NaN or infinity"):
        compiled(Worker(broken, broken))
    wrong = Worker(RIGHT + 1, RIGHT)
    with pytest.raises(WorkerFailed, match="outputs differ"):
        compiled(wrong)
    assert wrong.compiled == 1
